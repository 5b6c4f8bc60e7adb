"use strict";
(() => {
  const $ = (query, root = document) => root.querySelector(query);
  const $$ = (query, root = document) => [...root.querySelectorAll(query)];
  const make = (tag, kind, text) => {
    const element = document.createElement(tag);
    if (kind) element.className = kind;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const draw = (svg, tag, attributes, text) => {
    const element = document.createElementNS(svg.namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    svg.append(element);
    return element;
  };
  $$("[data-script]").forEach((element) => { element.hidden = false; });
  if (matchMedia("(max-width:1080px)").matches) $(".toc details").open = false;

  /* theme: auto, light, dark */
  const root = document.documentElement;
  const themeButton = $("#theme");
  const themes = ["auto", "light", "dark"];
  const setTheme = (theme) => {
    if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
    themeButton.textContent = "Theme: " + theme;
  };
  themeButton.hidden = false;
  themeButton.addEventListener("click", () => {
    const now = root.dataset.theme || "auto";
    setTheme(themes[(themes.indexOf(now) + 1) % themes.length]);
  });

  /* contents: mark the section being read */
  const links = new Map($$(".toc a").map((link) => [link.hash.slice(1), link]));
  if ("IntersectionObserver" in window) {
    const watch = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        links.forEach((link) => link.classList.remove("here"));
        links.get(entry.target.id)?.classList.add("here");
      }
    }, { rootMargin: "-10% 0px -80% 0px" });
    $$("main section").forEach((section) => watch.observe(section));
  }

  /* tooltips */
  const tip = $("#tip");
  const hideTip = () => { tip.hidden = true; };
  document.addEventListener("pointerover", (event) => {
    const target = event.target.closest?.("[data-tip]");
    if (!target) return hideTip();
    tip.textContent = target.dataset.tip;
    tip.hidden = false;
  });
  document.addEventListener("pointermove", (event) => {
    if (tip.hidden) return;
    const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    const below = event.clientY + 18;
    const top = below + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 10 : below;
    tip.style.transform = `translate(${Math.max(4, left)}px,${top}px)`;
  });
  document.addEventListener("scroll", hideTip, { passive: true });

  /* sortable tables */
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.v ?? cell.textContent.trim();
    const value = text === "–" ? -1 : Number(text.replace(/,/g, ""));
    return Number.isNaN(value) ? text : value;
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number")
    ? a - b : String(a).localeCompare(String(b), "en");
  for (const table of $$("table.sortable")) {
    $$("thead th", table).forEach((head, column) => {
      const button = make("button", "", head.textContent);
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        $$("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => (up ? 1 : -1) * compare(keyOf(a, column), keyOf(b, column)));
        table.tBodies[0].append(...rows);
      });
    });
  }

  /* the wall */
  const grid = $("#wall-grid");
  const data = grid ? JSON.parse($("#wall-data").textContent) : null;
  const tiles = grid ? $$(".tile", grid) : [];
  let chosen = -1;
  let pair = null;

  const nameOf = (index) => (index < 0 ? "unknown" : data.classes[index]);
  const titleOf = (number) => data.said[number] || "unknown";
  const verdict = (query, other) => {
    const a = data.sets[query], b = data.sets[other];
    return !a.length || !b.length ? "" : a.some((kind) => b.includes(kind)) ? "right" : "wrong";
  };
  const symbol = (kind) => (kind === "right" ? "✓" : kind === "wrong" ? "✗" : "");
  const copyPicture = (number, into) => {
    const inner = tiles[number].firstElementChild.cloneNode(true);
    if (inner.tagName === "IMG") inner.alt = titleOf(number);
    into.classList.forEach((kind) => { if (/^k-?\d+$/.test(kind)) into.classList.remove(kind); });
    tiles[number].classList.forEach((kind) => { if (/^k-?\d+$/.test(kind)) into.classList.add(kind); });
    into.replaceChildren(inner);
  };

  const drawLines = () => {
    const svg = $("#wall-lines");
    svg.replaceChildren();
    if (chosen < 0) return;
    const middle = (n) => [tiles[n].offsetLeft + tiles[n].offsetWidth / 2, tiles[n].offsetTop + tiles[n].offsetHeight / 2];
    const [x1, y1] = middle(chosen);
    for (const other of data.near[chosen]) {
      const [x2, y2] = middle(other);
      draw(svg, "line", { x1, y1, x2, y2, class: verdict(chosen, other) });
    }
  };

  const drawStrip = () => {
    const svg = $("#panel-strip");
    $$("circle,text", svg).forEach((element) => element.remove());
    const far = data.far[chosen];
    const low = Math.min(...far), high = Math.max(...far);
    const span = high - low || 1;
    const x = (d) => 16 + 248 * (d - low) / span;
    far.forEach((d, place) => {
      const kind = verdict(chosen, data.near[chosen][place]);
      draw(svg, "circle", { cx: x(d).toFixed(1), cy: 28, r: 5, class: kind + " dotm" });
    });
    draw(svg, "text", { x: 8, y: 12 }, "nearest " + low.toFixed(3));
    draw(svg, "text", { x: 272, y: 12, "text-anchor": "end" }, high.toFixed(3) + " farthest shown");
  };

  const fillPanel = () => {
    const panel = $("#wall-panel");
    $(".hint", panel).hidden = chosen >= 0;
    $(".chosen", panel).hidden = chosen < 0;
    if (chosen < 0) return;
    copyPicture(chosen, $("#panel-pic"));
    $("#panel-truth").textContent = titleOf(chosen);
    const called = $("#panel-called");
    called.className = "called";
    const sure = data.sure[chosen] === null ? "" : `, ${(100 * data.sure[chosen]).toFixed(0)} % sure`;
    if (!data.good[chosen]) called.replaceChildren("called ", make("b", "", data.called[chosen]), sure);
    else called.replaceChildren("called so" + sure);
    $("#panel-path").textContent = data.name[chosen];
    const list = $("#panel-near");
    list.replaceChildren(...data.near[chosen].map((other, place) => {
      const kind = verdict(chosen, other);
      const item = make("li", kind);
      const picture = make("span", "pic");
      copyPicture(other, picture);
      const mark = make("span", "mark", symbol(kind));
      if (kind) mark.setAttribute("aria-label", data.words[kind]);
      item.append(make("span", "rank", place + 1), picture, make("span", "cls", titleOf(other)),
        make("span", "num", data.far[chosen][place].toFixed(3)), mark);
      item.title = data.name[other];
      item.addEventListener("click", () => choose(other));
      return item;
    }));
    drawStrip();
  };

  const note = (state) => { try { history.replaceState(null, "", state); } catch { /* not allowed here */ } };

  const choose = (number) => {
    tiles.forEach((tile) => {
      tile.classList.remove("sel", "near", "right", "wrong");
      tile.removeAttribute("aria-pressed");
      $(".badge", tile)?.remove();
    });
    chosen = number;
    grid.classList.toggle("lit", chosen >= 0);
    if (chosen >= 0) {
      const tile = tiles[chosen];
      tile.classList.add("sel");
      tile.setAttribute("aria-pressed", "true");
      roam(chosen, false);
      data.near[chosen].forEach((other, place) => {
        const kind = verdict(chosen, other);
        tiles[other].classList.add("near");
        if (kind) tiles[other].classList.add(kind);
        tiles[other].append(make("span", "badge", `${data.far[chosen][place].toFixed(2)} ${symbol(kind)}`));
      });
      note("#tile=" + chosen);
    } else note("#wall");
    fillPanel();
    drawLines();
  };

  const roam = (number, focus) => {
    tiles.forEach((tile, n) => { tile.tabIndex = n === number ? 0 : -1; });
    if (focus) tiles[number].focus();
  };

  const filter = () => {
    const kind = $("#wall-class").value;
    const errors = $("#wall-errors").checked;
    tiles.forEach((tile, n) => {
      const off = (kind !== "" && !data.sets[n].includes(Number(kind))) || (errors && !tile.classList.contains("bad"))
        || (pair !== null && (data.truth[n] !== pair[0] || data.label[n] !== pair[1]));
      tile.classList.toggle("off", off);
    });
    const shown = tiles.filter((tile) => !tile.classList.contains("off"));
    const said = $("#wall-filter");
    said.hidden = shown.length === tiles.length;
    const what = pair === null ? "" : `: ${nameOf(pair[0])} called ${nameOf(pair[1])}`;
    said.textContent = `${shown.length} of ${tiles.length} tiles${what}`;
    if (shown.length) roam(Number(shown[0].dataset.n), false);
    drawLines();
  };

  if (grid) {
    tiles.forEach((tile, n) => {
      tile.tabIndex = n === 0 ? 0 : -1;
      tile.addEventListener("click", () => choose(chosen === n ? -1 : n));
    });
    const columns = () => getComputedStyle(grid).gridTemplateColumns.split(" ").length;
    grid.addEventListener("keydown", (event) => {
      if (event.key === "Escape") return choose(-1);
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns() }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      const shown = tiles.filter((tile) => tile.offsetParent !== null);
      const next = shown[shown.indexOf(document.activeElement) + step];
      if (next) roam(Number(next.dataset.n), true);
    });
    $("#wall-class").addEventListener("change", () => { pair = null; filter(); });
    $("#wall-errors").addEventListener("change", () => { pair = null; filter(); });
    const size = () => { grid.style.setProperty("--tile", $("#wall-size").value + "px"); drawLines(); };
    $("#wall-size").addEventListener("input", size);
    size();
    $("#wall-next").addEventListener("click", () => {
      const bad = tiles.map((tile, n) => n).filter((n) => tiles[n].classList.contains("bad"));
      if (!bad.length) return;
      choose(bad.find((n) => n > chosen) ?? bad[0]);
      tiles[chosen].scrollIntoView({ block: "center", behavior: "smooth" });
    });
    $("#wall-clear").addEventListener("click", () => {
      pair = null;
      $("#wall-class").value = "";
      $("#wall-errors").checked = false;
      filter();
      choose(-1);
    });
    new ResizeObserver(drawLines).observe(grid);
  }

  /* the confusion matrix */
  const matrix = $("#cm");
  if (matrix) {
    const heads = $$("thead th:not(.sum)", matrix);
    const rows = [...matrix.tBodies[0].rows];
    const side = rows.length;
    let at = null;
    const point = (i, j) => {
      $$(".cross,.cur", matrix).forEach((cell) => cell.classList.remove("cross", "cur"));
      at = [i, j];
      rows.forEach((row) => row.cells[j + 1].classList.add("cross"));
      [...rows[i].cells].slice(0, side + 1).forEach((cell) => cell.classList.add("cross"));
      heads[j].classList.add("cross");
      const cell = rows[i].cells[j + 1];
      cell.classList.remove("cross");
      cell.classList.add("cur");
      const n = Number($("i", cell)?.textContent ?? 0);
      const total = Number(rows[i].cells[side + 1].textContent);
      const share = total ? ` (${(100 * n / total).toFixed(1)} %)` : "";
      const [truth, label] = [rows[i].cells[0].textContent, heads[j].textContent];
      $("#cm-read").textContent = i === j ? `${n} of ${total} ${truth}${share} were called so`
        : `${n} of ${total} ${truth}${share} were called ${label}`;
    };
    const where = (target) => {
      const cell = target.closest?.("tbody td:not(.sum)");
      return cell ? [cell.parentElement.rowIndex - 1, cell.cellIndex - 1] : null;
    };
    const show = () => {
      if (!grid || at === null) return;
      const index = (text) => data.classes.indexOf(text);
      pair = [index(rows[at[0]].cells[0].textContent), index(heads[at[1]].textContent)];
      $("#wall-class").value = "";
      $("#wall-errors").checked = false;
      choose(-1);
      filter();
      $("#wall").scrollIntoView({ behavior: "smooth" });
    };
    matrix.addEventListener("pointerover", (event) => { const cell = where(event.target); if (cell) point(...cell); });
    matrix.addEventListener("click", (event) => { if (where(event.target)) show(); });
    matrix.addEventListener("keydown", (event) => {
      const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
      if (event.key === "Enter") return show();
      if (!step) return;
      event.preventDefault();
      const clamp = (value) => Math.max(0, Math.min(side - 1, value));
      const [i, j] = at ?? [0, 0];
      point(clamp(i + step[0]), clamp(j + step[1]));
      rows[at[0]].cells[at[1] + 1].scrollIntoView({ block: "nearest", inline: "nearest" });
    });
    const buttons = $$("[data-show]");
    buttons.forEach((button) => button.addEventListener("click", () => {
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      matrix.classList.toggle("as-count", button.dataset.show === "count");
    }));
  }

  /* the map */
  const scatter = $(".scatter");
  if (scatter) {
    const keys = $$(".legend button");
    let held = null;
    scatter.classList.toggle("crowded", keys.length > 12);
    const light = (index) => {
      scatter.classList.toggle("dim", index !== null);
      $$("[data-class]", scatter).forEach((part) => part.classList.toggle("on", part.dataset.class === index));
    };
    keys.forEach((key) => {
      const index = key.dataset.class;
      key.addEventListener("pointerenter", () => light(index));
      key.addEventListener("pointerleave", () => light(held));
      key.addEventListener("click", () => {
        held = held === index ? null : index;
        keys.forEach((other) => other.setAttribute("aria-pressed", String(other.dataset.class === held)));
        light(held);
      });
    });
    scatter.addEventListener("click", (event) => {
      const row = event.target.closest("use")?.dataset.row;
      const number = grid && row !== undefined ? data.row.indexOf(Number(row)) : -1;
      if (number < 0) return;
      choose(number);
      $("#wall").scrollIntoView({ behavior: "smooth" });
    });
  }

  /* #tile=12 chooses a tile, &theme=dark sets the theme */
  const read = () => {
    const wanted = new URLSearchParams(location.hash.slice(1));
    if (themes.includes(wanted.get("theme"))) setTheme(wanted.get("theme"));
    const number = Number(wanted.get("tile") ?? NaN);
    if (!grid || !Number.isInteger(number) || !tiles[number] || number === chosen) return;
    grid.classList.add("still"); /* arrived by link: no fading */
    choose(number);
    $("#wall").scrollIntoView({ block: "nearest" });
    setTimeout(() => grid.classList.remove("still"), 400);
  };
  addEventListener("hashchange", read);
  read();
})();
