// The console works without this script. It copies keys to the clipboard, prevents
// a double click from sending a form twice, and removes a key when its page is left,
// so that the browser's history does not show it again.
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
      // Without permission to write to the clipboard, the user copies the selected text.
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
    // The user may have canceled the request, so the form can be sent again later.
    setTimeout(() => { isSent = false; }, 5000);
  });
  // A form that the browser restores can be sent again. The server recognizes a second
  // attempt.
  addEventListener("pageshow", () => { isSent = false; });
}

addEventListener("pagehide", () => {
  for (const shown of document.querySelectorAll("[data-secret]")) {
    if (shown.matches("input")) shown.value = "";
    else shown.textContent = "The key was shown here once.";
  }
});
