// The console works without this script. It copies texts to the clipboard, filters lists
// while the user types, prevents a double click from sending a form twice, asks before a
// page is left whose key was not copied, removes a key when its page is left, so that the
// browser's history does not show it again, warns before the session ends, and handles
// keyboard shortcuts.
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
      if (text === unstored) unstored = null;
    } catch {
      // Without permission to write to the clipboard, the user copies the selected text.
      getSelection().selectAllChildren(text);
      label.textContent = "Selected";
    }
    setTimeout(() => { label.textContent = before; }, 2000);
  });
}

for (const field of document.querySelectorAll("[data-scripted]")) field.hidden = false;

// Reads a file into a text field. `data-reads` is the ID of the text field.
for (const file of document.querySelectorAll("[data-reads]")) {
  file.addEventListener("change", async () => {
    if (file.files[0]) document.getElementById(file.dataset.reads).value = await file.files[0].text();
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
      if (field.value.trim() !== "") group.open = true;
    }
    const count = rows.filter(matches).length;
    status.textContent = field.value.trim() === "" ? statusBefore : `${count} of ${rows.length} listed items match.`;
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

// The key on the page, until it is copied or the user says that it is stored.
let unstored = document.querySelector("[data-secret] pre");
addEventListener("beforeunload", (event) => { if (unstored) event.preventDefault(); });
document.addEventListener("copy", () => {
  if (unstored && getSelection().containsNode(unstored, true)) unstored = null;
});
for (const link of document.querySelectorAll("[data-stored]")) {
  link.addEventListener("click", () => { unstored = null; });
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

for (const button of document.querySelectorAll("[data-select-all]")) {
  const boxes = [...button.form.querySelectorAll("input[type=checkbox]")];
  const areAllChecked = () => boxes.every((box) => box.checked);
  const name = () => { button.textContent = areAllChecked() ? "Clear selection" : "Select all"; };
  button.hidden = false;
  button.form.addEventListener("change", name);
  button.addEventListener("click", () => {
    const isChecked = !areAllChecked();
    for (const box of boxes) box.checked = isChecked;
    name();
  });
  addEventListener("pageshow", name);
}

addEventListener("pagehide", () => {
  for (const shown of document.querySelectorAll("[data-secret]")) {
    if (shown.matches("input")) shown.value = "";
    else shown.textContent = "The key was shown here once.";
  }
});

// The session. Signing in again in another tab keeps the forms of this page usable.
{
  const WARNING_MS = 5 * 60_000;
  const ending = document.querySelector("[data-seconds-left]");
  const tabs = "BroadcastChannel" in window ? new BroadcastChannel("keyward-session") : undefined;
  let endsAt = 0;

  const update = () => {
    if (!ending) return;
    const [notice] = ending.children, [text, link] = notice.children, left = endsAt - Date.now();
    notice.hidden = left > WARNING_MS;
    if (notice.hidden) return;
    const [words, label] = left > 0
      ? ["Your session ends in less than 5 minutes. To stay signed in, sign in again in a new tab. This page keeps your input.", "Stay signed in"]
      : ["Your session has ended. Sign in again in a new tab. This page keeps your input.", "Sign in again"];
    // An unchanged text must not be announced again.
    if (text.textContent !== words) [text.textContent, link.textContent] = [words, label];
  };

  if (ending) {
    endsAt = Date.now() + 1000 * ending.dataset.secondsLeft;
    const csrf = document.querySelector("[name=csrf]").value;
    tabs?.postMessage({ user: ending.dataset.user, endsAt, csrf });
    update();
    setInterval(update, 10_000);
    // Timers stop while the computer sleeps.
    addEventListener("visibilitychange", update);
  }

  tabs?.addEventListener("message", ({ data }) => {
    const expired = document.querySelector("[data-expired]");
    // A form of one user is never sent as another user without a question.
    if (!expired && ending?.dataset.user !== data.user) return;
    endsAt = data.endsAt;
    for (const field of document.querySelectorAll("[name=csrf]")) field.value = data.csrf;
    if (expired) expired.textContent = `You are signed in again as ${data.user}. Now resend the form.`;
    update();
  });

  // The browser closes only a tab that has shown no other page.
  if (document.querySelector("[data-close]")) setTimeout(close, 200);
}

// Keyboard shortcuts. The attribute data-keys has the keys of a link or field.
if (document.body.hasAttribute("data-shortcuts")) {
  const SEQUENCE_MS = 1500;
  let firstAt = -Infinity;
  addEventListener("keydown", (event) => {
    const { key, target, timeStamp } = event;
    // The names of keys without a character, such as Shift, are longer.
    if (key.length !== 1 || event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
    if (target.closest("input:not([type=radio], [type=checkbox]), select, textarea")) return;
    const keys = timeStamp - firstAt < SEQUENCE_MS ? `g ${key}` : key;
    firstAt = keys === "g" ? timeStamp : -Infinity;
    const chosen = [...document.querySelectorAll("[data-keys]")].find((element) => element.dataset.keys === keys);
    if (!chosen) return;
    event.preventDefault();
    if (chosen.matches("input")) chosen.select();
    else chosen.click();
  });
}
