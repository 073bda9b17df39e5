"use strict";
/* Sorts the rows of every table over all of its data, and shows them page by page. Numbers read as in numbers.py. */
(function () {
  const NOTHING = "–", LARGEST = 1e7;

  function shownNumber(value, decimals) {
    if (value === null) return NOTHING;
    const number = +value;
    if (!isFinite(number)) return number > 0 ? "∞" : "-∞";
    const size = Math.abs(number);
    if (size && (size >= LARGEST || size < 5 * Math.pow(10, -(decimals + 1)))) {
      return number.toExponential(2).replace("e+", "e");
    }
    return number.toFixed(decimals);
  }

  function reader(column) {
    if (column.kind === "number") {
      return {
        cell: (row) => shownNumber(column.values[row], column.decimals),
        key: (row) => (column.values[row] === null ? NaN : +column.values[row]),
      };
    }
    const texts = column.texts;
    if (column.kind === "digits") {
      const values = texts.map((text) => (text === "" ? NaN : +text));
      return { cell: (row) => texts[column.codes[row]], key: (row) => values[column.codes[row]] };
    }
    const collator = new Intl.Collator(undefined, { numeric: true });
    const places = new Float64Array(texts.length);
    texts.map((_, i) => i).sort((a, b) => collator.compare(texts[a], texts[b])).forEach((i, place) => { places[i] = place; });
    return {
      cell: (row) => texts[column.codes[row]],
      key: (row) => (texts[column.codes[row]] === "" ? NaN : places[column.codes[row]]),
    };
  }

  function start(box) {
    const data = JSON.parse(box.querySelector("script").textContent);
    const readers = data.columns.map(reader);
    const heads = Array.from(box.querySelectorAll("th"));
    const body = box.querySelector("tbody");
    let order = Array.from({ length: data.count }, (_, i) => i), first = 0;

    function show() {
      const rows = document.createDocumentFragment();
      for (const row of order.slice(first, first + data.page)) {
        const line = document.createElement("tr");
        readers.forEach((each, i) => {
          const cell = document.createElement("td");
          cell.textContent = each.cell(row);
          cell.className = heads[i].className;
          if (data.columns[i].kind === "status") cell.dataset.status = cell.textContent;
          line.append(cell);
        });
        rows.append(line);
      }
      body.replaceChildren(rows);
      if (place) {
        const last = Math.min(first + data.page, data.count);
        place.textContent = (first + 1).toLocaleString("en") + "–" + last.toLocaleString("en") + " of " + data.count.toLocaleString("en");
        back.disabled = first === 0;
        next.disabled = last === data.count;
      }
    }

    function sort(i) {
      const falling = heads[i].getAttribute("aria-sort") === "ascending";
      heads.forEach((head) => head.removeAttribute("aria-sort"));
      heads[i].setAttribute("aria-sort", falling ? "descending" : "ascending");
      const keys = Float64Array.from({ length: data.count }, (_, row) => readers[i].key(row));
      const sign = falling ? -1 : 1;
      order.sort((a, b) => {
        const x = keys[a], y = keys[b];
        if (x !== x || y !== y) return x !== x && y !== y ? a - b : x !== x ? 1 : -1; /* empty cells last */
        return x === y ? a - b : x < y ? -sign : sign;
      });
      first = 0;
      show();
    }

    heads.forEach((head, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      button.addEventListener("click", () => sort(i));
      head.replaceChildren(button);
    });

    let place, back, next;
    if (data.count > data.page) {
      const pager = document.createElement("div");
      pager.className = "pager";
      back = document.createElement("button");
      next = document.createElement("button");
      place = document.createElement("span");
      back.type = next.type = "button";
      back.textContent = "Back";
      next.textContent = "Next";
      back.addEventListener("click", () => { first -= data.page; show(); });
      next.addEventListener("click", () => { first += data.page; show(); });
      pager.append(back, place, next);
      const more = box.querySelector(".more");
      if (more) more.replaceWith(pager); else box.append(pager);
      show();
    }
  }

  document.querySelectorAll(".paged").forEach(start);

  /* What is folded away is printed too. */
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    opened.forEach((each) => { each.open = true; });
  });
  window.addEventListener("afterprint", () => opened.forEach((each) => { each.open = false; }));
})();
