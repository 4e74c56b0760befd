// Small graphs whole: every tensor and op a box, values above, gradients below as the backward pass reaches them.

/** What stands in a box: the name its author gave a tensor where there is one and it fits, else the op. */
function boxName(tensor, op) {
  const short = shortName(tensor);
  if (op) return op.path === tensor.name && !short.startsWith(op.op) && short.length <= 16 ? short : op.op;
  return short.length > 14 ? `…${short.slice(-13)}` : short;
}

/** Larger graphs are shown by the list alone. */
const MOST_BOXES = 34;
const BOX = { width: 104, height: 58, across: 126, gap: 16, margin: 12 };

class Diagram {
  constructor(app) {
    this.app = app;
    this.host = byId('diagram');
    const { trace } = app;
    const leaves = new Set(trace.ops.flatMap(op => op.inputs).filter(id => trace.tensor(id) && !trace.tensor(id).maker));
    this.small = trace.ops.length > 0 && trace.ops.length + leaves.size <= MOST_BOXES;
    if (this.small) this.lay([...leaves].map(id => trace.tensor(id)));
  }

  /** Columns by longest path; a long wire passes the columns between as a thin box of its own; rows by the average of neighbours. */
  lay(leaves) {
    const { trace } = this.app;
    const boxes = new Map();
    for (const op of trace.ops) {
      const column = 1 + Math.max(0, ...op.inputs.map(id => boxes.get(id)?.column ?? 0));
      boxes.set(op.output, { tensor: trace.tensor(op.output), op, column, height: BOX.height, near: [] });
    }
    for (const leaf of leaves) boxes.set(leaf.id, { tensor: leaf, column: Math.min(...leaf.readers.map(op => boxes.get(op.output).column)) - 1, height: BOX.height, near: [] });
    const first = Math.min(...[...boxes.values()].map(box => box.column));
    const columns = [];
    const put = box => (columns[box.column - first] ??= []).push(box);
    boxes.forEach(put);
    this.wires = [];
    for (const to of boxes.values()) {
      for (const id of new Set(to.op?.inputs ?? [])) {
        const from = boxes.get(id);
        const stops = [from];
        for (let column = from.column + 1; column < to.column; column++) {
          const stop = { column, height: 8, near: [] };
          put(stop);
          stops.push(stop);
        }
        stops.push(to);
        for (let i = 1; i < stops.length; i++) {
          stops[i].near.push(stops[i - 1]);
          stops[i - 1].near.push(stops[i]);
        }
        this.wires.push({ stops, to });
      }
    }
    const tall = column => column.reduce((sum, box) => sum + box.height + BOX.gap, -BOX.gap);
    const most = Math.max(...columns.map(tall));
    const stack = column => {
      let y = BOX.margin + (most - tall(column)) / 2;
      for (const box of column) {
        box.y = y;
        y += box.height + BOX.gap;
      }
    };
    const middle = box => box.y + box.height / 2;
    columns.forEach(stack);
    for (let sweep = 0; sweep < 8; sweep++) {
      for (const column of sweep % 2 ? [...columns].reverse() : columns) {
        for (const box of column) box.want = box.near.length ? box.near.reduce((sum, other) => sum + middle(other), 0) / box.near.length : middle(box);
        column.sort((a, b) => a.want - b.want);
        stack(column);
      }
    }
    columns.forEach((column, c) => column.forEach(box => { box.x = BOX.margin + c * BOX.across; }));
    this.boxes = boxes;
    this.width = columns.length * BOX.across - (BOX.across - BOX.width) + 2 * BOX.margin;
    this.height = most + 2 * BOX.margin;
  }

  render() {
    if (!this.small) return;
    const { app } = this;
    const { state, trace } = app;
    const backward = state.pass === 'backward';
    const current = this.app.op;
    const wires = this.wires.map(({ stops, to }) => {
      const y = box => box.y + box.height / 2;
      let d = `M${stops[0].x + BOX.width} ${y(stops[0])}`;
      for (let i = 1; i < stops.length; i++) {
        const [from, box] = [stops[i - 1], stops[i]];
        const bend = (box.x - from.x - BOX.width) / 2;
        d += `C${from.x + BOX.width + bend} ${y(from)},${box.x - bend} ${y(box)},${box.x} ${y(box)}`;
        if (i < stops.length - 1) d += `H${box.x + BOX.width}`;
      }
      return svg('path', { d, class: `wire${to.op === current ? ' active' : ''}` });
    });
    const items = [...this.boxes.values()].map(box => this.box(box, { backward, current, state, trace }));
    const drawing = svg('svg', { width: this.width, height: this.height, viewBox: `0 0 ${this.width} ${this.height}`, role: 'group', 'aria-label': 'Computation graph' }, ...wires, ...items);
    const scroll = this.host.querySelector('.scroller');
    const left = scroll?.scrollLeft ?? 0;
    const scroller = el('div', { class: 'scroller', tabindex: '0', role: 'region', 'aria-label': 'Computation graph' }, drawing);
    this.host.replaceChildren(el('section', { class: 'card diagram' }, scroller, el('p', { class: 'muted key' }, 'Value above, ', el('span', { class: 'grad' }, 'gradient of the loss'), ' below, as the passes reach them.')));
    const box = this.boxes.get(current?.output);
    scroller.scrollLeft = left;
    if (box) {
      const { x } = box;
      if (x < scroller.scrollLeft + 40 || x + BOX.width > scroller.scrollLeft + scroller.clientWidth - 40) scroller.scrollLeft = x - scroller.clientWidth / 2;
    }
  }

  box({ tensor, op, x, y }, { backward, current, state, trace }) {
    const known = !op || backward || op.place < state.step || (op.place === state.step && !this.app.predict.veiled);
    const arrived = backward && this.gradientKnown(tensor, op);
    const veiled = this.app.predict.veiled && op === current && !backward;
    const text = (content, dy, name) => svg('text', { x: BOX.width / 2, y: dy, class: name, 'text-anchor': 'middle' }, content);
    const name = boxName(tensor, op);
    const say = values => (values === null ? '' : product(tensor.shape) === 1 ? brief(values.at(tensor.shape.map(() => 0)), 4) : tensor.shape.join('×'));
    const value = veiled ? '?' : known ? say(tensor.value) : '';
    const grad = arrived && tensor.grad ? (product(tensor.shape) === 1 ? say(tensor.grad) : `‖∂‖ ${brief(tensor.grad.norm)}`) : '';
    const select = () => (op ? this.app.goOp(op) : this.app.choose(tensor, backward && arrived ? 'grad' : 'value'));
    const classes = ['box', op ? 'op' : tensor.role, op === current ? 'current' : '', known ? '' : 'ahead'].join(' ');
    const node = svg('g', { class: classes, transform: `translate(${x} ${y})`, role: 'button', tabindex: '-1', onclick: select },
      svg('rect', { width: BOX.width, height: BOX.height, rx: op ? 10 : 3 }), text(name, 15, 'box-name'), ' ', text(value, grad ? 34 : 40, 'box-value'), ' ', text(grad, 51, 'box-grad'));
    node.dataset.key = `box-${tensor.id}`;
    node.addEventListener('keydown', event => {
      if (event.key === 'Enter') select();
    });
    if (op === current || (!current && tensor === trace.tensor(state.tensor))) node.setAttribute('tabindex', '0');
    return node;
  }

  /** Whether the whole gradient of a tensor has arrived at this step of the backward pass. */
  gradientKnown(tensor, op) {
    const { state } = this.app;
    if (op?.backwardPlace !== undefined) return op.backwardPlace <= state.step || tensor.parts.every(part => part.place < state.step || (part.place === state.step && !this.app.predict.veiled));
    return tensor.parts.length > 0 && tensor.parts.every(part => part.place < state.step || (part.place === state.step && !this.app.predict.veiled));
  }
}
