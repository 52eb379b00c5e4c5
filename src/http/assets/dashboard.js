// Hover, zoom, live update and keys. The page works without it.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const fixed = root.hasAttribute("data-fixed");
  const saved = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  if (!fixed && saved()) root.dataset.theme = saved();

  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const make = (tag, name, text) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  };

  // Light or dark: as the system says until somebody chooses.
  const turnTheme = () => {
    const isDark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* private window */ }
    if (fixed) {
      const url = new URL(location.href);
      url.searchParams.set("theme", root.dataset.theme);
      history.replaceState(null, "", url);
    }
  };

  // Values at each point, read when a chart is first pointed at.
  const values = new Map();
  const read = (url) => {
    if (!values.has(url)) {
      if (values.size > 60) values.clear();
      values.set(url, fetch(url).then((r) => {
        if (!r.ok) throw new Error(r.status);
        return r.text();
      }).then((text) => text.split("\n").map((row) => row.split("\t"))).catch(() => {
        values.delete(url);
        return null;
      }));
    }
    return values.get(url);
  };

  const chartOf = (plotted) => {
    const svg = plotted.querySelector("svg.chart");
    if (!svg) return null;
    const isBars = svg.classList.contains("bars");
    return {
      svg, isBars, box: svg.getBoundingClientRect(), points: +svg.dataset.points,
      start: +svg.dataset.start, step: +svg.dataset.step,
    };
  };
  const share = (chart, x) => Math.min(1, Math.max(0, (x - chart.box.left) / chart.box.width));
  const pointAt = (chart, x) => chart.isBars
    ? Math.min(chart.points - 1, Math.floor(share(chart, x) * chart.points))
    : Math.round(share(chart, x) * (chart.points - 1));
  const timeAt = (chart, x) => chart.start + share(chart, x) * chart.step * (chart.points - 1);

  let tip, over = null, drag = null, walked = null;
  const clearCross = () => {
    all(".cross").forEach((node) => node.remove());
    all("rect.here").forEach((node) => node.classList.remove("here"));
  };
  const leave = () => {
    over = null;
    clearCross();
    tip.classList.remove("on");
  };
  const cross = (plotted, x) => {
    const node = make("div", "cross");
    node.style.left = x - plotted.getBoundingClientRect().left + "px";
    plotted.append(node);
  };
  const mark = (plotted, chart, point) => {
    clearCross();
    if (chart.isBars) {
      const slot = chart.box.width / chart.points;
      const middle = chart.box.left + slot * (point + .5);
      all("rect.bar", chart.svg).forEach((rect) => {
        const box = rect.getBoundingClientRect();
        if (box.left < middle && middle < box.right) rect.classList.add("here");
      });
      return middle;
    }
    const time = chart.start + chart.step * point;
    let here = 0;
    for (const other of all(".plotted")) {
      const its = chartOf(other);
      if (!its || its.isBars) continue;
      const part = (time - its.start) / (its.step * (its.points - 1));
      if (!(part >= 0 && part <= 1)) continue;
      const x = its.box.left + part * its.box.width;
      cross(other, x);
      if (other === plotted) here = x;
    }
    return here;
  };
  // What happened where the pointer is, as the markers' own titles say it.
  const noteMarkers = (plotted, x) => all(".mark", plotted).forEach((node) => {
    const box = node.querySelector(".hit").getBoundingClientRect();
    if (Math.abs((box.left + box.right) / 2 - x) < 7) tip.append(make("p", "note", node.querySelector("title").textContent));
  });
  const fill = (plotted, rows, point, x) => {
    tip.replaceChildren();
    const row = rows && rows[point + 1];
    if (!row) return tip.append(make("p", "", rows === null ? "values cannot be read" : "reading …"));
    tip.append(make("p", "", row[0]));
    const keys = all(".legend .key", plotted.closest(".panel"));
    row.slice(1).forEach((value, at) => {
      const line = make("div");
      const name = rows[0][at + 1];
      if (name) line.append(keys[at] ? keys[at].cloneNode(true) : make("i"), make("span", "", name));
      else line.append(make("i"), make("span", "", "total"));
      line.append(make("b", "", value));
      tip.append(line);
    });
    noteMarkers(plotted, x);
  };
  const place = (x, y) => {
    tip.classList.add("on");
    const width = tip.offsetWidth, height = tip.offsetHeight;
    const left = x + 14 + width > innerWidth - 8 ? x - 14 - width : x + 14;
    tip.style.left = Math.max(8, left) + "px";
    tip.style.top = Math.max(8, Math.min(y - height - 10, innerHeight - height - 8)) + "px";
  };
  const show = async (plotted, point, y) => {
    const chart = chartOf(plotted);
    if (!chart) return;
    const x = mark(plotted, chart, point);
    const url = plotted.dataset.values;
    const mine = over = { plotted, point, y };
    const late = setTimeout(() => { if (over === mine) { fill(plotted, undefined, point, x); place(x, y); } }, 150);
    const rows = await read(url);
    clearTimeout(late);
    if (over !== mine) return;
    fill(plotted, rows, point, x);
    place(x, y);
  };

  const zoomTo = (from, to) => {
    const url = new URL(location.href);
    ["range", "from", "to"].forEach((name) => url.searchParams.delete(name));
    url.searchParams.set("from", Math.floor(from / 1000));
    url.searchParams.set("to", Math.ceil(to / 1000));
    location.href = url;
  };

  const plottedAt = (event) => event.target.closest && event.target.closest(".plotted");
  addEventListener("pointermove", (event) => {
    if (drag) {
      const x = Math.min(drag.chart.box.right, Math.max(drag.chart.box.left, event.clientX));
      const own = drag.plotted.getBoundingClientRect().left;
      drag.band.style.left = Math.min(x, drag.x) - own + "px";
      drag.band.style.width = Math.abs(x - drag.x) + "px";
      drag.to = x;
      return;
    }
    const plotted = plottedAt(event);
    if (!plotted) { if (over && !walked) leave(); return; }
    walked = null;
    const chart = chartOf(plotted);
    if (chart) show(plotted, pointAt(chart, event.clientX), event.clientY);
  });
  addEventListener("pointerdown", (event) => {
    const plotted = event.button === 0 && event.pointerType !== "touch" && plottedAt(event);
    const chart = plotted && chartOf(plotted);
    if (!chart || chart.isBars) return;
    const band = make("div", "band");
    plotted.append(band);
    drag = { plotted, chart, band, x: event.clientX, to: event.clientX };
    event.preventDefault();
    plotted.focus({ preventScroll: true, focusVisible: false });
  });
  const drop = () => { if (drag) drag.band.remove(); drag = null; };
  addEventListener("pointerup", () => {
    if (!drag) return;
    const { chart, x, to } = drag;
    drop();
    if (Math.abs(to - x) > 6) zoomTo(timeAt(chart, Math.min(x, to)), timeAt(chart, Math.max(x, to)));
  });
  addEventListener("pointercancel", drop);
  addEventListener("scroll", () => { if (over && !walked) leave(); }, { passive: true });

  // Arrows walk along a chart that has the focus.
  const walk = (plotted, by) => {
    const chart = chartOf(plotted);
    if (!chart) return;
    const from = over && over.plotted === plotted ? over.point : by > 0 ? -1 : chart.points;
    const point = Math.min(chart.points - 1, Math.max(0, from + by));
    walked = plotted;
    show(plotted, point, chart.box.top + 40);
  };

  addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      drop();
      leave();
      all("details.pop[open]").forEach((node) => { node.open = false; });
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    const plotted = document.activeElement && document.activeElement.closest(".plotted");
    if (plotted && /^Arrow(Left|Right)$/.test(event.key)) {
      event.preventDefault();
      const by = event.shiftKey ? 10 : 1;
      return walk(plotted, event.key === "ArrowLeft" ? -by : by);
    }
    if (event.key.length !== 1 || document.querySelector("dialog[open]")) return;
    const target = all("[data-key]").find((node) => node.dataset.key === event.key);
    if (!target) return;
    event.preventDefault();
    if (target.tagName === "INPUT") { target.focus(); target.select(); } else target.click();
  });
  addEventListener("focusout", () => { if (walked) { walked = null; leave(); } });

  addEventListener("click", (event) => {
    const near = (selector) => event.target.closest(selector);
    all("details.pop[open]").forEach((node) => { if (!node.contains(event.target)) node.open = false; });
    if (near(".theme")) { event.preventDefault(); turnTheme(); }
    const opener = near("[data-opens]");
    if (opener) document.getElementById(opener.dataset.opens).showModal();
    const copy = near(".copy");
    if (copy) {
      const code = copy.parentNode.querySelector("code");
      const done = () => { copy.textContent = "Copied"; setTimeout(() => { copy.textContent = "Copy"; }, 1500); };
      const byHand = () => {
        getSelection().selectAllChildren(code);
        if (document.execCommand("copy")) done();
      };
      if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(done, byHand); else byHand();
    }
  });

  // Live: the server tells of each flush; then the page is read again and
  // what changed is swapped, the old staying until the new is there.
  let body, events = null, heardAt = Date.now(), heardAs = "", readAt = Date.now(), reading = false;
  const status = (name, words) => {
    const node = document.querySelector(".status");
    node.className = "status " + name;
    root.classList.toggle("quiet", name === "stale");
    node.querySelector(".words").textContent = words;
  };
  const swap = (page) => {
    if (page.body.dataset.kind !== body.dataset.kind) return location.reload();
    const fresh = new Map(all("[data-panel]", page).map((node) => [node.dataset.panel, node]));
    const old = all("[data-panel]");
    if (fresh.size !== old.length || old.some((node) => !fresh.has(node.dataset.panel))) {
      document.querySelector("main").replaceWith(document.adoptNode(page.querySelector("main")));
    } else {
      for (const node of old) {
        const next = fresh.get(node.dataset.panel);
        // What is the same stays, so that no banner is read out again.
        if (node.isEqualNode(next)) continue;
        const busy = node.contains(document.activeElement) && !node.querySelector(".plotted:focus");
        if (busy || node.querySelector("details.pop[open]")) continue;
        const open = all("details", node).map((d) => d.open);
        const tops = all(".scroll", node).map((s) => s.scrollTop);
        const focus = all(".plotted", node).indexOf(document.activeElement);
        node.replaceWith(document.adoptNode(next));
        all("details", next).forEach((d, at) => { d.open = !!open[at]; });
        all(".scroll", next).forEach((s, at) => { s.scrollTop = tops[at] || 0; });
        if (focus >= 0) all(".plotted", next)[focus]?.focus({ preventScroll: true, focusVisible: !!walked });
        if (over && node.contains(over.plotted)) {
          const again = all(".plotted", next)[all(".plotted", node).indexOf(over.plotted)];
          if (again) show(again, over.point, over.y); else leave();
        }
      }
    }
    ["from", "to", "newest", "every"].forEach((name) => { body.dataset[name] = page.body.dataset[name]; });
    heardAs = page.querySelector(".status .words").textContent.replace(/^as of /, "");
    status("live", "live " + heardAs);
  };
  const refresh = async () => {
    if (reading || drag || document.hidden) return;
    reading = true;
    try {
      const response = await fetch(location.href);
      if (!response.ok) throw new Error(response.status);
      swap(new DOMParser().parseFromString(await response.text(), "text/html"));
      readAt = Date.now();
    } catch { /* the next flush tries again; "stale" tells of it */ }
    reading = false;
  };
  const due = () => Date.now() - readAt >= +body.dataset.every - 500;
  const connect = () => {
    if (events || document.hidden) return;
    events = new EventSource("/dashboard/live");
    events.addEventListener("flush", (event) => {
      heardAt = Date.now();
      const news = event.data - body.dataset.newest;
      if (news >= +body.dataset.every || body.dataset.kind === "first-run") refresh();
    });
    events.addEventListener("intake", () => {
      heardAt = Date.now();
      if (body.dataset.kind === "first-run") refresh();
    });
  };
  const disconnect = () => { if (events) events.close(); events = null; };
  const watch = () => {
    if (document.hidden) return;
    // Refused for good, as when too many listen: ask now and then instead.
    if (events && events.readyState === 2 && due()) refresh().then(() => { heardAt = readAt; });
    const quiet = Date.now() - heardAt;
    if (quiet > 3 * +body.dataset.window + 5000) status("stale", "stale since " + heardAs);
  };

  document.addEventListener("DOMContentLoaded", () => {
    body = document.body;
    tip = make("div");
    tip.id = "tip";
    tip.setAttribute("role", "status");
    body.append(tip);
    if (!("live" in body.dataset)) return;
    heardAs = document.querySelector(".status .words").textContent.replace(/^as of /, "");
    status("live", "live " + heardAs);
    connect();
    setInterval(watch, 2000);
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) return disconnect();
      heardAt = Date.now();
      connect();
      if (due()) refresh();
    });
  });
})();
