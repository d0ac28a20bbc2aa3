(() => {
  'use strict';
  const find = (selector, root) => (root || document).querySelector(selector);
  const dialog = find('#ask'), fields = find('#fields'), done = find('#done');
  let me = null, act = null, busy = false;

  function say(text, is) {
    done.dataset.is = is || 'good';
    done.textContent = text;
  }
  function show(told) {
    me = told && told.user ? told : null;
    document.body.dataset.write = me ? 'on' : 'off';
    find('#who').hidden = Boolean(me);
    find('#me').hidden = !me;
    find('#me span').textContent = me ? me.user : '';
  }
  async function call(method, path, body, more) {
    const headers = { accept: 'application/json', ...more };
    if (me) headers['x-csrf-token'] = me.csrf;
    if (body) headers['content-type'] = 'application/json';
    const sent = { method, headers, cache: 'no-store', signal: AbortSignal.timeout(70000) };
    if (body) sent.body = JSON.stringify(body);
    const answer = await fetch(path, sent);
    const told = await answer.json().catch(() => ({}));
    if (answer.status === 401) {
      dialog.close();
      show(null);
    }
    if (!answer.ok) throw new Error((told.detail || 'the answer is ' + answer.status) + (told.help ? ': ' + told.help : ''));
    return told;
  }

  const lengths = [['15m', 15], ['30m', 30], ['1h', 60], ['2h', 120], ['4h', 240], ['8h', 480]];
  const named = minutes => minutes < 60 ? minutes + ' min' : minutes / 60 + ' h';
  const clock = at => at.toISOString().slice(11, 16) + ' UTC';
  const flag = name => 'routes/' + encodeURIComponent(name) + '/flag';

  function field(name, label, input) {
    const box = document.createElement('label');
    input.name = name;
    if (input.type === 'checkbox') {
      box.className = 'tick';
      box.append(input, label);
    } else {
      box.append(label, input);
    }
    fields.append(box);
  }
  function choice(options, chosen) {
    const select = document.createElement('select');
    for (const [value, text] of options) select.add(new Option(text, value, value === chosen, value === chosen));
    return select;
  }
  function input(type, required) {
    const made = document.createElement('input');
    made.type = type;
    made.required = Boolean(required);
    made.autocomplete = 'off';
    return made;
  }
  const value = name => find('[name=' + name + ']', fields).value.trim();
  const minutes = () => lengths.find(([word]) => word === value('for'))[1];
  const time = chosen => choice(lengths.map(([word, minutes]) => [word, named(minutes)]), chosen);
  const inFlight = row => {
    const count = Number(find('[data-c=in_flight]', row).textContent);
    return 'At this proxy, ' + (count === 1 ? '1 request is' : count + ' requests are') + ' in flight there.';
  };

  // What each button asks, what it tells before it is done, and what it does.
  const acts = {
    close: {
      title: name => 'Close ' + name,
      word: 'Close',
      make() {
        field('mode', 'Effect', choice([['offline', 'offline: everybody gets the page'], ['read-only', 'read-only: reading goes on'], ['hold', 'hold: requests wait']], 'offline'));
        field('for', 'Time', time('30m'));
        field('message', 'Words for the page (may be empty)', input('text'));
      },
      effect: ({ name, row }) => name + ' will be ' + (value('mode') === 'hold' ? 'on hold' : value('mode')) + ' for ' + named(minutes()) + ', until '
        + clock(new Date(Date.now() + minutes() * 60000)) + '. ' + inFlight(row),
      async run({ name }) {
        const body = { mode: value('mode'), for: value('for') };
        if (value('message')) body.message = value('message');
        return call('PUT', flag(name) + '?wait=5s', body);
      },
    },
    open: {
      title: name => 'Open ' + name,
      word: 'Open',
      make() {
        field('now', 'Let everybody in at once after the checks: no ramp', input('checkbox'));
      },
      effect: ({ name }) => 'The flag of ' + name + ' will be lifted. The route comes back after its checks'
        + (find('[name=now]', fields).checked ? ', at once.' : ', gradually if it has a ramp.'),
      async run({ name }) {
        const answer = await call('DELETE', flag(name) + (find('[name=now]', fields).checked ? '?now&wait=5s' : '?wait=5s'));
        if (!answer.changed) throw new Error(name + ' has no flag of its own; a flag for every route closes it');
        return answer;
      },
    },
    extend: {
      title: (name, window) => 'Extend ' + (window ? 'window ' + window : 'the flag of ' + name),
      word: 'Extend',
      make() {
        field('for', 'Longer by', time('30m'));
      },
      effect: ({ name, window }) => (window ? 'Window ' + window : 'The flag of ' + name) + ' will end ' + named(minutes()) + ' later.',
      async run({ name, window }) {
        if (window) return call('PATCH', 'windows/' + encodeURIComponent(window) + '?wait=5s', { by: value('for') });
        const response = await fetch(flag(name), { cache: 'no-store', headers: { accept: 'application/json' } });
        const told = await response.json();
        if (!response.ok || !told.until) throw new Error(told.detail || 'the flag has no end');
        if (told.held_by) throw new Error('the flag is held by ' + told.held_by + ', which renews its end');
        const until = new Date(Math.max(Date.parse(told.until), Date.now()) + minutes() * 60000).toISOString().slice(0, 19) + 'Z';
        const body = { mode: told.mode, until };
        if (told.message) body.message = told.message;
        return call('PUT', flag(name) + '?wait=5s', body, { 'if-match': response.headers.get('etag') });
      },
    },
    step: {
      title: (name, window) => 'Move a step of window ' + window,
      word: 'Move',
      make() {
        field('step', 'Step, by its number or title', input('text', true));
        field('state', 'State', choice(['running', 'done', 'failed', 'pending'].map(word => [word, word]), 'done'));
      },
      effect: ({ window }) => 'Step ' + (value('step') || '…') + ' of ' + window + ' will be ' + value('state') + '. Visitors see it.',
      run: ({ name, window }) => call('POST', 'routes/' + encodeURIComponent(name) + '/steps?wait=5s',
        { window, step: value('step'), state: value('state') }),
    },
  };

  function told() {
    find('#effect').textContent = act.effect(act);
  }
  document.addEventListener('click', event => {
    const button = event.target.closest('[data-act]');
    if (!button || !me) return;
    const row = button.closest('[data-route]');
    act = { ...acts[button.dataset.act], name: row.dataset.route, window: button.dataset.window || '', row };
    fields.replaceChildren();
    act.make();
    find('#title').textContent = act.title(act.name, act.window);
    find('#do').textContent = act.word;
    find('#wrong').textContent = '';
    told();
    dialog.showModal();
  });
  fields.addEventListener('input', () => told());
  find('#not').addEventListener('click', () => dialog.close());
  find('form', dialog).addEventListener('submit', async event => {
    event.preventDefault();
    if (busy) return;
    busy = find('#do').disabled = true;
    const { name } = act;
    try {
      const answer = await act.run(act);
      dialog.close();
      say(name + ': done' + (answer.in_force ? ', and in force' : '; ' + (answer.why || 'not in force yet')));
    } catch (error) {
      find('#wrong').textContent = error.message;
      if (!dialog.open) say(error.message, 'wrong');
    }
    busy = find('#do').disabled = false;
  });
  find('#who').addEventListener('submit', async event => {
    event.preventDefault();
    const typed = find('#who input');
    try {
      show(await call('POST', 'session', { token: typed.value }));
      say('logged in as ' + me.user);
    } catch (error) {
      say(error.message, 'wrong');
    }
    typed.value = '';
  });
  find('#me button').addEventListener('click', async () => {
    await call('DELETE', 'session').catch(() => {});
    show(null);
    say('logged out');
    find('#who input').focus();
  });
  call('GET', 'session').then(show, () => show(null));
})();
