// The keyboard. Every key is a button, too; the help lists both.

/** `[keys, what they do, action]`. */
const keyList = app => [
  [['ArrowRight'], 'Next step', () => app.step(1)],
  [['ArrowLeft'], 'Previous step', () => app.step(-1)],
  [['Shift+ArrowRight'], 'Next module', () => app.module(1)],
  [['Shift+ArrowLeft'], 'Previous module', () => app.module(-1)],
  [['Home'], 'First step', () => app.go(app.state.pass, 0)],
  [['End'], 'Last step', () => app.go(app.state.pass, Infinity)],
  [[' '], 'Play or pause', () => app.play()],
  [['f'], 'Forward pass', () => app.pass('forward')],
  [['b'], 'Backward pass', () => app.pass('backward')],
  [['/'], 'Find an op or a module', () => app.focusFind()],
  [['g'], 'Go to a step', () => app.focusGoto()],
  [['['], 'Previous channel', () => app.channel(-1)],
  [[']'], 'Next channel', () => app.channel(1)],
  [['h', 'j', 'k', 'l'], 'Move the chosen cell left, down, up, right', key => app.moveCell(key)],
  [['s'], 'Scale of the colours: linear, this map, logarithmic', () => app.nextScale()],
  [['c'], 'Finite-difference checks', () => app.set({ checks: !app.state.checks })],
  [['p'], 'Predict, then reveal', () => app.set({ predict: !app.state.predict })],
  [['1', '2', '3', '4'], 'Answer a prediction', key => app.answer(Number(key) - 1)],
  [['x'], 'Break it: show a wrong gradient being caught', () => app.toggleBreak()],
  [['y'], 'This step as NumPy', () => app.showNumpy()],
  [['t'], 'Light or dark', () => app.toggleTheme()],
  [['?'], 'These keys', () => app.showKeys()],
];

const KEY_NAMES = { ArrowRight: '→', ArrowLeft: '←', 'Shift+ArrowRight': 'Shift →', 'Shift+ArrowLeft': 'Shift ←', ' ': 'Space' };

function listenToKeys(app) {
  const actions = new Map(keyList(app).flatMap(([keys, , action]) => keys.map(key => [key, action])));
  document.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const { target } = event;
    if (document.querySelector('dialog[open]')) return;
    // What is typed into a field is the field's, and a choice or a slider keeps its arrows.
    if (target.closest('input, textarea, select')) {
      if (event.key === 'Escape') target.blur();
      return;
    }
    if (event.key === ' ' && target.closest('button, summary, [role=button]')) return;
    const name = event.shiftKey && event.key.startsWith('Arrow') ? `Shift+${event.key}` : event.key;
    const action = actions.get(name) ?? (name.length === 1 ? actions.get(name.toLowerCase()) : undefined);
    if (!action) return;
    event.preventDefault();
    action(name.length === 1 ? name.toLowerCase() : name);
  });
}

function keysDialog(app) {
  const rows = keyList(app).map(([keys, what]) => el('tr', {}, el('th', { scope: 'row' }, keys.map(key => el('kbd', {}, KEY_NAMES[key] ?? key))), el('td', {}, what)));
  const rest = [[['↑', '↓'], 'Along the list of ops, when it has the focus'], [['Enter'], 'Open the op or fold the block that has the focus'], [['Esc'], 'Leave a field, close a window']]
    .map(([keys, what]) => el('tr', {}, el('th', { scope: 'row' }, keys.map(key => el('kbd', {}, key))), el('td', {}, what)));
  return [el('header', {}, el('h2', { id: 'keys-title' }, 'Keys'), button('Close', () => byId('keys').close(), { class: 'close' })), el('table', { class: 'keys' }, el('tbody', {}, rows, rest))];
}
