// The console works without this script. It copies keys to the clipboard, filters lists
// while the user types, prevents a double click from sending a form twice, and removes a
// key when its page is left, so that the browser's history does not show it again.
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

// Filters the rows of a list while the user types. `data-filters` is the ID of the list.
for (const field of document.querySelectorAll("[data-filters]")) {
  const list = document.getElementById(field.dataset.filters);
  const status = document.getElementById(`${list.id}-shown`);
  const statusBefore = status.textContent;
  const rows = [...list.querySelectorAll("[data-row]")];
  const matches = (row) => row.textContent.toLowerCase().includes(field.value.trim().toLowerCase());
  field.addEventListener("input", () => {
    // A selected row stays visible.
    for (const row of rows) row.hidden = !matches(row) && !row.querySelector(":checked");
    for (const group of list.querySelectorAll("[data-group]")) {
      group.hidden = !group.querySelector("[data-row]:not([hidden])");
    }
    const count = rows.filter(matches).length;
    status.textContent = field.value.trim() === "" ? statusBefore : `${count} of the ${rows.length} listed match.`;
  });
  // Enter presses the button next to the field, if there is one, and not the form's main
  // button.
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    field.parentElement.querySelector("button")?.click();
  });
  // The server applies a filter before the form's main action. That is not necessary if the
  // selected role is one of the matches.
  field.form.addEventListener("submit", (event) => {
    const selected = rows.find((row) => row.querySelector("input[type=radio]:checked"));
    if (event.submitter?.value !== "role" && selected && matches(selected)) field.value = "";
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
