// Everything works without this. It adds copying, keeps a form from being sent
// twice by a double click, and wipes a key when its page is left, so that
// no history of the browser brings it back.
"use strict";

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy);
    const label = button.firstChild;
    const before = label.textContent;
    try {
      await navigator.clipboard.writeText(text.textContent);
      label.textContent = "Copied";
    } catch {
      // Without the right to the clipboard: the text is there to be copied by hand.
      getSelection().selectAllChildren(text);
      label.textContent = "Selected";
    }
    setTimeout(() => { label.textContent = before; }, 2000);
  });
}

for (const form of document.querySelectorAll("form[data-once]")) {
  let isSent = false;
  form.addEventListener("submit", (event) => {
    if (isSent) event.preventDefault();
    isSent = true;
    // Somebody may have stopped it.
    setTimeout(() => { isSent = false; }, 5000);
  });
  // A page that the browser brings back can be sent again: the server knows a
  // second attempt from the first.
  addEventListener("pageshow", () => { isSent = false; });
}

addEventListener("pagehide", () => {
  for (const shown of document.querySelectorAll("[data-secret]")) {
    if (shown.matches("input")) shown.value = "";
    else shown.textContent = "The key was shown here once.";
  }
});
