// All that the site does beyond HTML: colours, copying, printing, and the list of jobs. Nothing is sent anywhere.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const kept = () => { try { return localStorage.getItem("hapi-theme") || ""; } catch { return ""; } };
  const show = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme; else delete root.dataset.theme;
    for (const button of document.querySelectorAll("[data-theme-set]"))
      button.setAttribute("aria-pressed", String(button.dataset.themeSet === (root.dataset.theme || "")));
  };
  show(kept());

  document.addEventListener("DOMContentLoaded", () => {
    show(kept());
    menu(); themes(); copies(); printing(); opening(); jobs();
  });

  function menu() {
    const details = document.querySelector(".menu");
    const small = matchMedia("(max-width: 40rem)");
    const fit = () => { details.open = !small.matches; };
    fit();
    small.addEventListener("change", fit);
  }

  function themes() {
    for (const button of document.querySelectorAll("[data-theme-set]"))
      button.addEventListener("click", () => {
        try { localStorage.setItem("hapi-theme", button.dataset.themeSet); } catch { /* not kept, but shown */ }
        show(button.dataset.themeSet);
      });
  }

  function copies() {
    for (const button of document.querySelectorAll(".copy"))
      button.addEventListener("click", async () => {
        const code = button.parentElement.querySelector("code");
        let done = true;
        try { await navigator.clipboard.writeText(code.textContent); } catch { done = select(code); }
        button.textContent = done ? "Copied" : "Selected";
        setTimeout(() => { button.textContent = "Copy"; }, 1600);
      });
  }

  function select(node) {
    const range = document.createRange();
    range.selectNodeContents(node);
    const chosen = getSelection();
    chosen.removeAllRanges();
    chosen.addRange(range);
    try { return document.execCommand("copy"); } catch { return false; }
  }

  // a link to what stands in a closed part opens it
  function opening() {
    const open = () => {
      const goal = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
      for (let each = goal; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
    };
    addEventListener("hashchange", open);
    open();
  }

  function printing() {
    let opened = [];
    addEventListener("beforeprint", () => {
      opened = [...document.querySelectorAll("details.for-print:not([open])")];
      for (const details of opened) details.open = true;
    });
    addEventListener("afterprint", () => { for (const details of opened) details.open = false; });
  }

  function jobs() {
    const table = document.querySelector("table.jobs");
    if (!table) return;
    const body = table.tBodies[0], size = 50;
    const rows = [...body.rows].map((row) => ({ row, text: row.cells[0].textContent.toLowerCase(), category: row.cells[1].textContent }));
    const find = document.getElementById("find"), category = document.getElementById("category");
    const found = document.getElementById("found"), place = document.getElementById("place");
    const steps = [...document.querySelectorAll(".pager button")];
    let shown = rows, page = 0;

    const draw = () => {
      const first = page * size, last = Math.min(first + size, shown.length);
      body.replaceChildren(...shown.slice(first, last).map((each) => each.row));
      place.textContent = shown.length ? `${first + 1} to ${last} of ${shown.length.toLocaleString("en")}` : "";
      steps[0].disabled = page === 0;
      steps[1].disabled = last >= shown.length;
    };
    const filter = () => {
      const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
      shown = rows.filter((each) => (!category.value || each.category === category.value) && words.every((w) => each.text.includes(w)));
      page = 0;
      found.textContent = `${shown.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} jobs`;
      draw();
    };
    const key = (each, column) => {
      const text = each.row.cells[column].textContent;
      return table.tHead.rows[0].cells[column].classList.contains("n") ? parseFloat(text.replace(/[$,]/g, "")) || 0 : text;
    };
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        rows.sort((a, b) => {
          const x = key(a, column), y = key(b, column);
          return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
        });
        filter();
      });
    });
    find.addEventListener("input", filter);
    category.addEventListener("change", filter);
    for (const button of steps) button.addEventListener("click", () => { page += Number(button.dataset.step); draw(); });
    filter();
    table.classList.add("ready");
  }
})();
