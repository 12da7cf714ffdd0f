import "./style.css";

// The deploy wrote this file beside the page: it says where the routes are, on the same origin.
const settings = fetch("dayfly.json").then((answer) => answer.json());
const form = document.querySelector("form");
const list = document.querySelector("#entries");
const state = document.querySelector("#state");

async function api(path, options) {
  const answer = await fetch((await settings).api + path, options);
  if (!answer.ok) {
    throw new Error((await answer.json()).message);
  }
  return answer.json();
}

async function show() {
  const { entries } = await api("entries");
  list.replaceChildren(...entries.map(row));
  state.textContent = entries.length === 1 ? "1 entry" : `${entries.length} entries`;
}

function row(entry) {
  const item = document.createElement("li");
  const name = document.createElement("b");
  // As text: what guests write is no markup.
  name.textContent = entry.name;
  item.append(name, entry.text);
  return item;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const entry = Object.fromEntries(new FormData(form));
    await api("entries", { method: "POST", body: JSON.stringify(entry), headers: { "Content-Type": "application/json" } });
    form.reset();
    await show();
  } catch (error) {
    state.textContent = `Not signed: ${error.message}`;
  }
});

show().catch((error) => (state.textContent = error.message));
