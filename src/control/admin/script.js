(() => {
  'use strict';
  const find = (selector, root) => (root || document).querySelector(selector);
  const line = find('#line'), words = find('#words');
  const clock = () => new Date().toISOString().slice(11, 19) + ' UTC';
  let seen = Date.now(), last = clock(), busy = false, again = false;
  let late = new Map();

  function tell(is, text) {
    if (line.dataset.is !== is) line.dataset.is = is;
    if (words.textContent !== text) words.textContent = text;
  }
  function heard() {
    seen = Date.now();
    last = clock();
    tell('live', 'live · ' + last);
  }
  function lost() {
    tell('lost', 'connection lost, last seen ' + last);
  }

  // Makes a node like another, and leaves every part alone that is the same: what is selected stays so.
  const key = node => node.id || (node.dataset && node.dataset.route) || '';
  function morph(node, to) {
    if (node.nodeType !== 1) {
      if (node.nodeValue !== to.nodeValue) node.nodeValue = to.nodeValue;
      return;
    }
    for (const { name } of [...node.attributes]) if (!to.hasAttribute(name)) node.removeAttribute(name);
    for (const { name, value } of to.attributes) if (node.getAttribute(name) !== value) node.setAttribute(name, value);
    const keyed = new Map([...node.children].filter(key).map(child => [key(child), child]));
    let at = node.firstChild;
    for (const child of to.childNodes) {
      const old = key(child) ? keyed.get(key(child)) : at && !key(at) ? at : null;
      if (!old || old.nodeName !== child.nodeName) {
        node.insertBefore(child.cloneNode(true), at);
        continue;
      }
      if (old === at) at = at.nextSibling;
      else node.insertBefore(old, at);
      morph(old, child);
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  }

  const latency = ms => ms >= 1000 ? (ms / 1000).toFixed(1) + ' s'
    : ms >= 99.5 ? ms.toFixed(0) + ' ms' : ms >= 0.995 ? ms.toFixed(1) + ' ms' : ms.toFixed(2) + ' ms';

  function count(routes) {
    const rows = new Map([...document.querySelectorAll('[data-route]')].map(row => [row.dataset.route, row]));
    for (const route of routes) {
      const row = rows.get(route.name);
      if (!row) continue;
      const cells = {
        in_flight: route.in_flight, held: route.held, rate: route.requests_per_second.toFixed(2).replace(/(\.\d)0$/, '$1'),
        p99: route.latency ? latency(route.latency.p99) : '–',
      };
      for (const [name, value] of Object.entries(cells)) {
        const cell = find('[data-c=' + name + ']', row);
        if (cell && cell.textContent !== String(value)) cell.textContent = value;
      }
    }
  }

  // The proxy renders, so that the page says the same with and without script.
  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    again = false;
    late = new Map();
    try {
      const answer = await fetch('./', { headers: { accept: 'text/html' }, cache: 'no-store', signal: AbortSignal.timeout(10000) });
      if (!answer.ok) throw new Error(answer.status);
      const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
      morph(find('main'), find('main', fresh));
      document.title = fresh.title;
      count([...late.values()]);
      heard();
    } catch {
      lost();
      setTimeout(refresh, 1000);
    }
    busy = false;
    if (again) refresh();
  }

  let stream;
  function follow() {
    if (stream) stream.close();
    stream = new EventSource('events');
    stream.addEventListener('status', () => { heard(); refresh(); });
    stream.addEventListener('counts', event => {
      heard();
      const routes = JSON.parse(event.data);
      if (busy) routes.forEach(route => late.set(route.name, route));
      count(routes);
    });
    stream.addEventListener('beat', heard);
    stream.addEventListener('end', lost);
    stream.onerror = () => {
      lost();
      // A browser gives up where it was answered with an error.
      if (stream.readyState === 2) setTimeout(follow, 2000);
    };
  }
  follow();
  // A connection that died without a word sends no heartbeat either.
  setInterval(() => {
    if (Date.now() - seen > 40000) {
      lost();
      seen = Date.now();
      follow();
    }
  }, 5000);
})();
