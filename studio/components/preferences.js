// What this browser remembers about how one likes to read; never anything about who one is.

const PREFERENCES = "reward-studio/card";

const preferences = {
  isPlain: false, // answers as plain text
  isTogether: true, // long answers scroll together
  isGuideOpen: true, // the guidelines panel, until somebody closes it
  areTurnsOpen: false, // earlier turns of a prompt
};
try {
  Object.assign(preferences, JSON.parse(localStorage.getItem(PREFERENCES) || "{}"));
} catch (error) {
  console.debug("Preferences could not be read:", error.message);
}

function prefer(name, value) {
  preferences[name] = value;
  keepInBrowser(PREFERENCES, JSON.stringify(preferences));
}

function keepInBrowser(key, text) {
  try {
    localStorage.setItem(key, text);
  } catch (error) {
    console.debug("This browser keeps nothing:", error.message);
  }
}

function keptInBrowser(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}
