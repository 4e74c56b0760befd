// One state object, and what changes it. Every change draws the page anew from the state.

/** Milliseconds between steps while playing. */
const PACE = 1100;

class App {
  constructor(trace) {
    this.trace = trace;
    this.state = { pass: 'forward', step: 0, tensor: null, picked: false, view: 'value', at: [], cell: null, scale: 0, checks: false, predict: false, broken: false, table: false };
    this.timer = null;
    this.predict = new Predict(this);
    this.panel = new OpPanel(this);
    this.graph = new Graph(byId('graph'), trace, { onselect: op => this.goOp(op) });
    this.diagram = new Diagram(this);
    this.places = new Map();
  }

  get op() {
    return this.trace.opAt(this.state.pass, this.state.step);
  }

  /** What the lesson says about this step. */
  get note() {
    const { lesson, focus } = this.trace;
    const here = note => note?.pass === this.state.pass && note.step === this.state.step;
    return lesson?.steps?.find(here) ?? (here(focus) ? focus : null);
  }

  /** The gradient contribution that this backward step makes to a tensor. */
  partFor(tensor) {
    if (this.state.pass !== 'backward') return null;
    const parts = this.trace.backward[this.state.step]?.parts.filter(part => part.to === tensor) ?? [];
    return parts.find(part => part === this.part) ?? parts[0] ?? null;
  }

  /** Whether a tensor's view would give away what is to be predicted. */
  hidden(tensor, view) {
    if (!this.predict.veiled) return false;
    const { op } = this;
    return this.state.pass === 'forward' ? tensor.id === op.output : view !== 'value' && tensor.id !== op.output;
  }

  isChosen(tensor, view, part) {
    const { state } = this;
    if (part && part !== this.partFor(tensor)) return false;
    return tensor.id === state.tensor && (view === state.view || (view === 'part' && state.view === 'grad' && tensor.parts.length < 2));
  }

  /** Selector positions last used with axes of these names, so that channels stay put from step to step. */
  shared(tensor) {
    return tensor.shape.map((_, axis) => this.places.get(tensor.axes[axis]) ?? 0);
  }

  /** What a step shows unless something was chosen: the output, or the first contribution. */
  settleChoice() {
    const { state, trace } = this;
    const { op } = this;
    if (!op) return;
    const near = [op.output, ...op.inputs];
    if (!state.picked || !near.includes(state.tensor)) {
      state.picked = false;
      const part = state.pass === 'backward' ? trace.backward[state.step].parts[0] : null;
      state.tensor = part ? part.to.id : op.output;
      state.view = part ? (part.value && part.to.parts.length > 1 ? 'part' : 'grad') : state.pass === 'backward' ? 'grad' : 'value';
      const tensor = trace.tensor(state.tensor);
      state.at = this.shared(tensor);
      if (state.cell?.length !== tensor.shape.length) state.cell = null;
      if (state.cell) state.cell = null;
    }
  }

  /** Changes the state and draws; a change of step or of what is chosen becomes an entry of the history. */
  set(change, { replace = false } = {}) {
    Object.assign(this.state, change);
    if ('tensor' in change || 'view' in change || 'cell' in change) this.state.picked = true;
    if ('at' in change) this.remember();
    this.settleChoice();
    this.refresh();
    this.writeHash(replace || !('step' in change || 'tensor' in change || 'view' in change));
  }

  remember() {
    const tensor = this.trace.tensor(this.state.tensor);
    if (tensor) viewAxes(tensor).rest.forEach(axis => this.places.set(tensor.axes[axis], this.state.at[axis]));
  }

  writeHash(replace) {
    const hash = toHash(this);
    if (hash === location.hash) return;
    history[replace ? 'replaceState' : 'pushState'](null, '', hash);
  }

  /** Takes the width there is, once: asking for it at every step would lay the page out twice. */
  measure() {
    this.width = byId('main').clientWidth;
    this.refresh();
  }

  /** Draws everything from the state. */
  refresh() {
    const start = performance.now();
    const { state, trace } = this;
    const key = document.activeElement?.closest('[data-key]')?.dataset.key;
    const steps = trace.steps(state.pass);
    document.body.dataset.pass = state.pass;
    byId('forward').setAttribute('aria-pressed', String(state.pass === 'forward'));
    byId('backward').setAttribute('aria-pressed', String(state.pass === 'backward'));
    byId('predict').setAttribute('aria-pressed', String(state.predict));
    byId('break').setAttribute('aria-pressed', String(state.broken));
    const slider = byId('slider');
    slider.max = Math.max(1, steps.length);
    slider.value = state.step + 1;
    slider.setAttribute('aria-valuetext', this.position());
    byId('of').textContent = `of ${steps.length}`;
    if (document.activeElement !== byId('goto')) byId('goto').value = state.step + 1;
    for (const [id, off] of [['first', state.step === 0], ['previous', this.atStart], ['previous-module', this.atStart], ['next', this.atEnd], ['next-module', this.atEnd], ['last', state.step === steps.length - 1]]) byId(id).setAttribute('aria-disabled', String(off));
    this.renderLesson();
    this.panel.render();
    this.diagram.render();
    this.graph.show(state);
    byId('fold').textContent = this.graph.allOpen ? 'Fold all' : 'Open all';
    byId('fold').setAttribute('aria-expanded', String(this.graph.allOpen));
    if (key && document.activeElement?.dataset?.key !== key) document.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
    // Reading a size makes the browser lay the page out now, so that the time below includes it.
    void document.body.offsetHeight;
    document.documentElement.dataset.drawn = (performance.now() - start).toFixed(1);
  }

  get atStart() {
    return this.state.step === 0 && this.state.pass === 'forward';
  }

  get atEnd() {
    const { state, trace } = this;
    return state.step >= trace.steps(state.pass).length - 1 && (state.pass === 'backward' || trace.backward.length === 0);
  }

  position() {
    const { state, trace, op } = this;
    return `step ${state.step + 1} of ${trace.steps(state.pass).length}, ${state.pass}, ${op ? `${op.op}, ${op.path}` : 'nothing'}`;
  }

  renderLesson() {
    const { lesson } = this.trace;
    const { note } = this;
    const start = lesson && this.state.pass === 'forward' && this.state.step === 0;
    const intro = start && lesson.intro ? prose(lesson.intro, { class: 'prose intro' }) : null;
    const text = note?.text ? prose(note.text) : null;
    byId('lesson').replaceChildren(...(intro || text ? [el('section', { class: 'card lesson', 'aria-label': lesson ? 'Lesson' : 'Note' }, el('p', { class: 'eyebrow' }, lesson ? (start ? 'Lesson' : lesson.title) : 'Note'), start ? el('h2', {}, lesson.title) : null, intro, text)] : []));
  }

  say(text) {
    byId('live').textContent = text;
  }

  go(pass, step, replace = false) {
    const count = this.trace.steps(pass).length;
    if (count === 0) return;
    const to = Math.max(0, Math.min(count - 1, step));
    if (pass === this.state.pass && to === this.state.step) return;
    this.set({ pass, step: to }, { replace });
    this.say(this.position());
  }

  goOp(op, pass = this.state.pass) {
    if (pass === 'backward' && op.backwardPlace === undefined) pass = 'forward';
    this.go(pass, pass === 'backward' ? op.backwardPlace : op.place);
  }

  /** One step; the end of the forward pass leads to the backward pass, and back. */
  step(by, replace = false) {
    const { pass, step } = this.state;
    const to = step + by;
    const { trace } = this;
    if (to >= trace.steps(pass).length) {
      if (pass === 'forward' && trace.backward.length) this.go('backward', 0, replace);
    } else if (to < 0) {
      if (pass === 'backward') this.go('forward', trace.ops.length - 1, replace);
    } else this.go(pass, to, replace);
  }

  /** To the first step of the next block, or of this or the previous one. */
  module(by) {
    const { state, trace } = this;
    const steps = trace.steps(state.pass);
    const module = i => {
      const op = trace.opAt(state.pass, i);
      return op.block || op.path;
    };
    let i = state.step;
    if (by > 0) {
      while (i < steps.length && module(i) === module(state.step)) i++;
      if (i === steps.length) return this.step(steps.length - state.step);
    } else {
      if (i === 0) return this.step(-1);
      i--;
      while (i > 0 && module(i - 1) === module(i)) i--;
    }
    return this.go(state.pass, i);
  }

  pass(pass) {
    if (pass === this.state.pass) return;
    const { op } = this;
    if (pass === 'backward' && op?.backwardPlace !== undefined) this.go(pass, op.backwardPlace);
    else if (pass === 'forward' && op) this.go(pass, op.place);
    else this.go(pass, 0);
  }

  play() {
    if (this.timer) return this.pause();
    if (this.atEnd) this.go('forward', 0);
    this.timer = setInterval(() => {
      if (this.predict.veiled) return;
      this.step(1, true);
      if (this.atEnd) this.pause();
    }, PACE);
    byId('play').classList.add('playing');
    byId('play').setAttribute('aria-label', 'Pause');
    return undefined;
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    byId('play').classList.remove('playing');
    byId('play').setAttribute('aria-label', 'Play');
  }

  choose(tensor, view, part = null) {
    // An op may read one tensor twice, so its step may hold two contributions to it.
    this.part = part;
    this.set({ tensor: tensor.id, view, at: this.shared(tensor), cell: null });
    this.say(`${VIEWS[view]} of ${tensor.name}`);
  }

  setAt(axis, i) {
    const subject = this.panel.inspector.subject;
    const at = [...subject.at];
    at[axis] = i;
    const cell = this.state.cell && this.state.cell.length === at.length ? this.state.cell.map((old, a) => (a === axis ? i : old)) : null;
    this.state.tensor = subject.tensor.id;
    this.set({ at, cell });
    this.say(`${axisName(subject.tensor.axes[axis] ?? `axis ${axis}`)} ${i}`);
  }

  moveAt(axis, by) {
    const { tensor, values, at, plane } = this.panel.inspector.subject;
    if (!values) return;
    const here = values.available(axis, plane.axes.rest.filter(other => other > axis), at);
    const to = here[here.indexOf(at[axis]) + by];
    if (to !== undefined) this.setAt(axis, to);
  }

  channel(by) {
    const subject = this.panel.inspector.subject;
    const axis = subject?.plane.axes.rest.at(-1);
    if (axis !== undefined) this.moveAt(axis, by);
  }

  moveCell(key) {
    const subject = this.panel.inspector.subject;
    if (!subject?.plane.here || this.hidden(subject.tensor, subject.view)) return;
    const { plane, tensor } = subject;
    const old = this.state.cell?.length === tensor.shape.length ? plane.cell(this.state.cell) : null;
    const [dr, dc] = { h: [0, -1], l: [0, 1], k: [-1, 0], j: [1, 0] }[key];
    const [r, c] = old ? [old[0] + dr, old[1] + dc] : [0, 0];
    const cell = r >= 0 && c >= 0 && r < plane.rows && c < plane.cols ? plane.index(r, c) : null;
    if (!cell) return;
    this.set({ tensor: tensor.id, view: subject.view, at: cell, cell }, { replace: true });
    this.say(`${indexText(tensor, cell)}: ${exact(plane.at(r, c))}`);
  }

  nextScale() {
    this.set({ scale: (this.state.scale + 1) % SCALES.length }, { replace: true });
    this.say(SCALES[this.state.scale].title);
  }

  outline(terms) {
    this.panel.outline(terms);
  }

  answer(choice) {
    const { predict } = this;
    if (predict.veiled && choice < predict.question.choices.length) predict.answer(choice);
  }

  toggleBreak() {
    const broken = !this.state.broken;
    const near = this.trace.ops.filter(op => op.broken);
    this.set({ broken });
    if (broken && near.length && !this.op?.broken) this.goOp(near[0], 'backward');
    this.say(broken ? 'Broken on purpose' : 'Right again');
    if (broken) document.querySelector('.broken')?.scrollIntoView({ block: 'nearest' });
  }

  toggleTheme() {
    const dark = theme() !== 'dark';
    setTheme(dark ? 'dark' : 'light');
    try {
      localStorage.setItem('pleach-theme', theme());
    } catch {
      // A page opened from disk may have no storage; the choice then lasts as long as the page.
    }
    this.refresh();
  }

  focusFind() {
    document.body.classList.add('graph-open');
    byId('find').focus();
    byId('find').select();
  }

  focusGoto() {
    byId('goto').focus();
    byId('goto').select();
  }

  showKeys() {
    byId('keys').replaceChildren(...keysDialog(this));
    byId('keys').showModal();
  }

  showNumpy() {
    if (!this.op) return;
    const text = numpy(this);
    const area = el('textarea', { readonly: true, spellcheck: 'false', 'aria-label': 'Python source', rows: '18' });
    area.value = text;
    const said = el('span', { role: 'status' });
    byId('code').replaceChildren(
      el('header', {}, el('h2', { id: 'code-title' }, 'This step as NumPy'), button('Close', () => byId('code').close(), { class: 'close' })), area,
      el('div', { class: 'actions' }, button('Copy', async () => { said.textContent = (await copyText(text)) ? 'Copied.' : 'Select the text and copy it.'; }), said));
    byId('code').showModal();
  }

  /** Joins the fixed buttons of the page to what they do. */
  wire() {
    const click = (id, action) => byId(id).addEventListener('click', action);
    click('first', () => this.go(this.state.pass, 0));
    click('last', () => this.go(this.state.pass, Infinity));
    click('previous', () => this.step(-1));
    click('next', () => this.step(1));
    click('previous-module', () => this.module(-1));
    click('next-module', () => this.module(1));
    click('play', () => this.play());
    click('forward', () => this.pass('forward'));
    click('backward', () => this.pass('backward'));
    click('predict', () => this.set({ predict: !this.state.predict }));
    click('break', () => this.toggleBreak());
    click('theme', () => this.toggleTheme());
    click('help', () => this.showKeys());
    click('numpy', () => this.showNumpy());
    click('print', () => window.print());
    click('skip', event => {
      // The address is the step's, so the link moves the focus without becoming it.
      event.preventDefault();
      byId('main').focus();
    });
    click('link', async () => {
      this.writeHash(true);
      this.say((await copyText(location.href)) ? 'Link copied.' : 'The address bar holds the link.');
      byId('link').textContent = 'Copied';
      setTimeout(() => { byId('link').textContent = 'Copy link'; }, 1500);
    });
    click('fold', () => {
      this.graph.foldAll(!this.graph.allOpen);
      this.refresh();
    });
    click('hide', () => {
      const open = document.body.classList.toggle('graph-open');
      byId('hide').setAttribute('aria-expanded', String(open));
      if (open) this.graph.show(this.state);
    });
    byId('slider').addEventListener('input', event => this.go(this.state.pass, Number(event.target.value) - 1, true));
    byId('goto').addEventListener('change', event => {
      const step = Number.parseInt(event.target.value, 10);
      if (Number.isFinite(step)) this.go(this.state.pass, step - 1);
      event.target.value = this.state.step + 1;
    });
    byId('find').addEventListener('input', event => {
      this.graph.find(event.target.value);
      this.graph.show(this.state);
      const count = this.graph.rows.length;
      this.say(event.target.value ? `${count} found` : '');
    });
    byId('find').addEventListener('keydown', event => {
      if (event.key === 'Enter') {
        const first = this.graph.rows.find(row => row.op);
        if (first) this.goOp(first.op);
      } else if (event.key === 'ArrowDown' && this.graph.rows[0]) {
        event.preventDefault();
        this.graph.rove(this.graph.rows[0]);
        this.graph.rows[0].button.focus();
      } else if (event.key === 'Escape') {
        event.target.value = '';
        this.graph.find('');
        this.graph.show(this.state);
      }
    });
    const moved = () => {
      if (location.hash === toHash(this)) return;
      const change = fromHash(this.trace, location.hash);
      Object.assign(this.state, { picked: false, cell: null }, change);
      if (change.view === undefined && change.tensor !== undefined) this.state.view = change.pass === 'backward' ? 'grad' : 'value';
      this.settleChoice();
      this.refresh();
      this.say(this.position());
    };
    window.addEventListener('popstate', moved);
    window.addEventListener('hashchange', moved);
    window.addEventListener('resize', () => {
      if (byId('main').clientWidth !== this.width) this.measure();
    });
    for (const node of document.querySelectorAll('button[aria-keyshortcuts]')) node.title = `${node.title || node.ariaLabel || node.textContent} (${node.getAttribute('aria-keyshortcuts').replace('Arrow', '')})`;
    listenToKeys(this);
  }
}

/** `image 17: cat, predicted dog`. */
const exampleText = classes => ({ index, label, predicted }) => {
  const name = k => classes[k] ?? `class ${k}`;
  return `image ${index}: ${name(label)}${predicted === null || predicted === undefined ? '' : `, predicted ${name(predicted)}`}`;
};

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  byId('theme').textContent = name === 'dark' ? 'Light' : 'Dark';
}

function chooseTheme() {
  const dark = window.matchMedia('(prefers-color-scheme: dark)');
  let kept = null;
  try {
    kept = localStorage.getItem('pleach-theme');
  } catch {
    // No storage for a page from disk: the system's preference it is.
  }
  setTheme(kept === 'dark' || kept === 'light' ? kept : dark.matches ? 'dark' : 'light');
  return { dark, kept };
}

/** Where the trace asks to be opened. */
function focused({ focus: { pass, step, tensor }, ...trace }) {
  const at = trace.tensors.get(tensor);
  return { pass, step, ...(at ? { tensor, picked: true, at: at.shape.map(() => 0) } : {}) };
}

function open() {
  const { dark, kept } = chooseTheme();
  let trace;
  try {
    trace = new Trace(JSON.parse(byId('trace').textContent));
  } catch (error) {
    byId('op').replaceChildren(el('p', { class: 'card bad' }, `This page's trace can't be read: ${error.message}`));
    return;
  }
  document.title = `${trace.title ?? trace.model ?? 'trace'} · pleach step`;
  byId('title').textContent = trace.lesson?.title ?? trace.title ?? trace.model ?? 'trace';
  byId('note').textContent = [trace.note, ...trace.examples.slice(0, 3).map(exampleText(trace.classes))].filter(Boolean).join(' · ');
  const app = new App(trace);
  if (!kept) dark.addEventListener('change', () => (setTheme(dark.matches ? 'dark' : 'light'), app.refresh()));
  byId('break').disabled = !trace.ops.some(op => op.broken);
  byId('backward').disabled = trace.backward.length === 0;
  app.wire();
  const change = location.hash || !trace.focus ? fromHash(trace, location.hash) : focused(trace);
  Object.assign(app.state, change);
  if (change.tensor !== undefined && change.view === undefined) app.state.view = change.pass === 'backward' ? 'grad' : 'value';
  app.settleChoice();
  app.measure();
  app.writeHash(true);
  document.documentElement.dataset.opened = performance.now().toFixed(0);
}

open();
