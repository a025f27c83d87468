() => {
  // The tab is created later: a rule also applies to elements that do not exist yet.
  if (!window.isSecureContext)
    document.head.insertAdjacentHTML("beforeend", "<style>#no-camera {display: block !important}</style>");
  const buttons = {z: "neutral-set", x: "neutral-clear"};
  document.addEventListener("keydown", (event) => {
    const {target, key} = event;
    const typing = target.matches("textarea, select, [contenteditable], input:not([type=radio], [type=checkbox], [type=range])");
    const button = document.getElementById(buttons[key.toLowerCase()]);
    if (typing || event.ctrlKey || event.altKey || event.metaKey || event.repeat || !button) return;
    if (button.checkVisibility()) button.click(); // only in the webcam tab
  });
}
