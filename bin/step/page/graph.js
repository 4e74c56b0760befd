// The graph beside the step: one row an op, folded by block, with its edges drawn in a gutter. Rows follow the order of
// execution; an op's place across comes from the trace.

/** Where the gutter's lanes are, in pixels. */
const GUTTER = { left: 50, lane: 12, row: 27 };

/** Blocks are folded at first where the open graph would be longer than this. */
const MOST_OPEN_ROWS = 60;

/** Ops by block: a tree of `{path, name, children, ops}`; `ops` are all those within, leaves are ops. */
function blockTree(ops) {
  const root = { path: '', name: '', children: [], ops: [] };
  const groups = new Map([['', root]]);
  const group = path => {
    if (groups.has(path)) return groups.get(path);
    const cut = path.lastIndexOf('.');
    const parent = group(cut < 0 ? '' : path.slice(0, cut));
    const made = { path, name: path.slice(cut + 1), children: [], ops: [], parent };
    groups.set(path, made);
    parent.children.push(made);
    return made;
  };
  for (const op of ops) {
    let at = group(op.block);
    at.children.push(op);
    for (; at; at = at.parent) at.ops.push(op);
  }
  return prune(root);
}

const isGroup = node => node.children !== undefined;

/** Whether a block, or one within it, holds an op. */
const holds = (path, op) => op.block.startsWith(path) && (op.block.length === path.length || op.block[path.length] === '.');

/** A block of one op is that op; a block that only holds another block is that block. */
function prune(node) {
  node.children = node.children.map(child => (isGroup(child) ? prune(child) : child)).map(child => {
    if (!isGroup(child) || child.children.length > 1) return child;
    const only = child.children[0];
    return isGroup(only) ? { ...only, name: `${child.name}.${only.name}` } : only;
  });
  return node;
}

class Graph {
  constructor(host, trace, { onselect }) {
    Object.assign(this, { host, trace, onselect, rows: [], query: '' });
    this.tree = blockTree(trace.ops);
    this.open = new Set();
    const groups = [];
    const walk = node => node.children.filter(isGroup).forEach(child => (groups.push(child), walk(child)));
    walk(this.tree);
    this.groups = groups;
    // The outermost level that keeps the list short is open.
    const visible = () => this.visible().length;
    for (const child of this.byDepth()) {
      this.open.add(child.path);
      if (visible() > MOST_OPEN_ROWS) {
        this.open.delete(child.path);
        break;
      }
    }
    this.lane = op => Math.max(-1, Math.min(1, op.x ?? 0));
    this.laid = null;
  }

  byDepth() {
    const depth = node => node.path.split('.').length;
    return [...this.groups].sort((a, b) => depth(a) - depth(b));
  }

  /** Rows in view, top to bottom: `{group | op, depth}`. */
  visible() {
    const rows = [];
    const found = op => !this.query || `${op.path} ${op.op}`.toLowerCase().includes(this.query);
    const walk = (node, depth) => {
      for (const child of node.children) {
        if (!isGroup(child)) {
          if (found(child)) rows.push({ op: child, depth });
          continue;
        }
        if (this.query) {
          walk(child, depth);
          continue;
        }
        rows.push({ group: child, depth, open: this.open.has(child.path) });
        if (this.open.has(child.path)) walk(child, depth + 1);
      }
    };
    walk(this.tree, 0);
    return rows;
  }

  /** Opens what hides an op. */
  reveal(op) {
    let changed = false;
    for (const group of this.groups) {
      if (holds(group.path, op) && !this.open.has(group.path)) {
        this.open.add(group.path);
        this.followed = [...(this.followed ?? []), group.path];
        changed = true;
      }
    }
    return changed;
  }

  /** Folds blocks that were opened only to follow the step, once it has left them. */
  release(op) {
    const left = (this.followed ?? []).filter(path => !holds(path, op));
    left.forEach(path => this.open.delete(path));
    this.followed = (this.followed ?? []).filter(path => !left.includes(path));
    return left.length > 0;
  }

  toggle(path) {
    this.followed = (this.followed ?? []).filter(other => other !== path);
    if (!this.open.delete(path)) this.open.add(path);
    this.laid = null;
  }

  get allOpen() {
    return this.groups.every(group => this.open.has(group.path));
  }

  foldAll(open) {
    this.followed = [];
    this.open = new Set(open ? this.groups.map(group => group.path) : []);
    this.laid = null;
  }

  find(query) {
    this.query = query.trim().toLowerCase();
    this.laid = null;
  }

  /** Draws what changed: rows only when blocks opened or folded, states and highlights always. */
  show(state) {
    const op = this.trace.opAt(state.pass, state.step);
    if (op && !this.query) {
      const released = this.release(op);
      if (this.reveal(op) || released) this.laid = null;
    }
    if (!this.laid) this.lay();
    this.mark(state, op);
  }

  lay() {
    this.rows = this.visible();
    const { left, lane, row } = GUTTER;
    const rowOf = new Map();
    this.rows.forEach((entry, r) => {
      if (entry.op) rowOf.set(entry.op, r);
      else if (!entry.open) for (const op of entry.group.ops) rowOf.set(op, r);
    });
    const x = r => left + (this.rows[r].op ? lane * this.lane(this.rows[r].op) : 0);
    const y = r => r * row + row / 2;
    const edges = new Map();
    for (const op of this.trace.ops) {
      for (const id of op.inputs) {
        const from = this.trace.tensor(id)?.maker;
        const [a, b] = [rowOf.get(from), rowOf.get(op)];
        if (a === undefined || b === undefined || a === b) continue;
        const key = a * this.rows.length + b;
        if (!edges.has(key)) edges.set(key, { a, b, pairs: [] });
        edges.get(key).pairs.push([from, op]);
      }
    }
    this.edges = [...edges.values()];
    const height = this.rows.length * row;
    const width = left + 2 * lane;
    this.drawing = svg('svg', { class: 'edges', width, height, viewBox: `0 0 ${width} ${height}`, 'aria-hidden': 'true' });
    for (const edge of this.edges) {
      const { a, b } = edge;
      const reach = Math.abs(b - a);
      const [x1, y1, x2, y2] = [x(a), y(a), x(b), y(b)];
      const bulge = reach === 1 ? 0 : Math.min(left - 8, 6 + 7 * Math.sqrt(reach));
      const side = Math.min(x1, x2) - bulge;
      const path = bulge === 0 ? `M${x1} ${y1}L${x2} ${y2}` : `M${x1} ${y1}C${side} ${y1 + row * 0.7},${side} ${y2 - row * 0.7},${x2} ${y2}`;
      edge.node = svg('path', { d: path, class: 'edge' });
      this.drawing.append(edge.node);
    }
    const items = this.rows.map((entry, r) => {
      const node = entry.op
        ? svg('circle', { cx: x(r), cy: y(r), r: 5, class: 'dot' })
        : svg('rect', { x: x(r) - 6, y: y(r) - 6, width: 12, height: 12, rx: 3, class: `dot${entry.open ? ' open' : ''}` });
      entry.dot = node;
      this.drawing.append(node);
      return this.rowButton(entry, r);
    });
    this.list = el('ul', { class: 'rows' }, items);
    const none = this.rows.length === 0 ? el('p', { class: 'muted none' }, 'No op or module of that name.') : null;
    const top = this.host.scrollTop;
    this.host.replaceChildren(this.drawing, this.list, ...(none ? [none] : []));
    this.host.scrollTop = top;
    this.laid = true;
  }

  rowButton(entry, r) {
    const indent = Math.min(4, entry.depth);
    const properties = { type: 'button', class: `row d${indent}`, tabindex: '-1', key: entry.op ? `op-${entry.op.id}` : `group-${entry.group.path}` };
    const short = entry.op ? entry.op.path.slice(entry.op.block ? entry.op.block.length + 1 : 0) || entry.op.path : '';
    const label = entry.op
      ? [el('span', { class: 'kind' }, entry.op.op), short && short !== entry.op.op ? el('span', { class: 'where' }, short) : null, el('span', { class: 'norm', 'aria-hidden': 'true' })]
      : [el('span', { class: 'fold', 'aria-hidden': 'true' }, entry.open ? '▾' : '▸'), el('span', { class: 'kind' }, entry.group.name), el('span', { class: 'where' }, `${entry.group.ops.length} ops`), el('span', { class: 'norm', 'aria-hidden': 'true' })];
    const onclick = () => {
      if (entry.op) this.onselect(entry.op);
      else {
        this.toggle(entry.group.path);
        this.show(this.state);
        this.focusRow(`group-${entry.group.path}`);
      }
    };
    entry.button = el('button', { ...properties, onclick, 'aria-expanded': entry.group ? String(entry.open) : null, title: entry.op ? entry.op.path : entry.group.path }, label);
    entry.button.addEventListener('keydown', event => this.move(event, r));
    return el('li', {}, entry.button);
  }

  /** Up and Down move along the rows; one row is in the tab order. */
  move(event, r) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    const to = this.rows[r + step];
    if (to) {
      this.rove(to);
      to.button.focus();
    }
  }

  rove(entry) {
    for (const row of this.rows) row.button.tabIndex = row === entry ? 0 : -1;
  }

  focusRow(key) {
    const entry = this.rows.find(row => row.button.dataset.key === key);
    if (!entry) return;
    this.rove(entry);
    entry.button.focus({ preventScroll: true });
  }

  mark(state, op) {
    this.state = state;
    const backward = state.pass === 'backward';
    const reached = other => (backward ? other.backwardPlace !== undefined && other.backwardPlace <= state.step : other.place <= state.step);
    let current = null;
    for (const entry of this.rows) {
      const here = entry.op ? entry.op === op : !entry.open && op && holds(entry.group.path, op);
      const members = entry.op ? [entry.op] : entry.group.ops;
      const done = members.every(reached);
      entry.button.classList.toggle('current', here);
      entry.button.classList.toggle('done', done);
      entry.dot.classList.toggle('current', here);
      entry.dot.classList.toggle('done', done);
      if (here) {
        entry.button.setAttribute('aria-current', 'step');
        current = entry;
      } else entry.button.removeAttribute('aria-current');
      this.gauge(entry, members, backward && done);
    }
    for (const edge of this.edges) {
      const active = op && edge.pairs.some(([from, to]) => (backward ? to === op : to === op || from === op));
      edge.node.classList.toggle('active', active);
    }
    const focused = this.rows.find(row => row.button === document.activeElement);
    this.rove(focused ?? current ?? this.rows[0]);
    if (current) {
      const top = this.rows.indexOf(current) * GUTTER.row;
      const { scrollTop, clientHeight } = this.host;
      if (top < scrollTop + 60 || top > scrollTop + clientHeight - 90) this.host.scrollTop = Math.max(0, top - clientHeight / 2);
    }
  }

  /** A small bar with the norm of the gradient that reached an op, on a logarithmic scale of the whole tape. */
  gauge(entry, members, shown) {
    const bar = entry.button.lastChild;
    const norm = shown ? this.trace.tensor(members[0].output)?.grad?.norm : undefined;
    bar.hidden = norm === undefined;
    if (norm === undefined) return;
    this.norms ??= logRange(this.trace.ops.map(o => this.trace.tensor(o.output)?.grad?.norm));
    bar.style.width = `${Math.round(4 + 40 * this.norms(norm))}px`;
    bar.title = `gradient norm ${brief(norm)}`;
  }
}

/** Maps positive numbers to 0..1 by their logarithm, within the range of those given. */
function logRange(numbers) {
  const logs = numbers.filter(x => Number.isFinite(x) && x > 0).map(Math.log10);
  if (logs.length === 0) return () => 0;
  const [low, high] = [logs.reduce((a, b) => Math.min(a, b)), logs.reduce((a, b) => Math.max(a, b))];
  return x => (x > 0 && Number.isFinite(x) ? (high > low ? (Math.log10(x) - low) / (high - low) : 1) : 0);
}
