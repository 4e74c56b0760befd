// The trace as the page reads it: tensors by id, values decoded when first shown.

/** `count` floats from little-endian base64; every browser's machine is little-endian. */
function decodeFloats(text) {
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
  return new Float32Array(bytes.buffer, 0, bytes.length >> 2);
}

const product = list => list.reduce((a, b) => a * b, 1);

/** Values of a tensor or of a gradient: a summary, and the whole of it or some slices. */
class Values {
  constructor(source, shape) {
    this.source = source;
    this.shape = shape;
    this.summary = source.summary ?? {};
    this.isWhole = source.whole !== undefined && source.whole !== null;
    const slices = this.isWhole ? [{ at: shape.map(() => null), data: source.whole }] : source.slices ?? [];
    this.slices = slices.map(slice => ({ at: slice.at, text: slice.data, floats: null, strides: strides(slice.at, shape) }));
  }

  floats(slice) {
    return slice.floats ??= decodeFloats(slice.text);
  }

  /** The value at a full index; undefined where the page does not hold it. */
  at(index) {
    for (const slice of this.slices) {
      const offset = position(slice, index);
      if (offset >= 0) return this.floats(slice)[offset];
    }
    return undefined;
  }

  /** Whether every slice needed for indices that agree with `index` where `fixed` is true is here. */
  holds(index) {
    return this.slices.some(slice => position(slice, index) >= 0);
  }

  /** Positions along `axis` that the page holds, given `index` on the axes in `given`. */
  available(axis, given, index) {
    const found = new Set();
    for (const { at } of this.slices) {
      if (given.some(g => at[g] !== null && at[g] !== index[g])) continue;
      if (at[axis] === null) for (let i = 0; i < this.shape[axis]; i++) found.add(i);
      else found.add(at[axis]);
    }
    return [...found].sort((a, b) => a - b);
  }

  /** Largest finite magnitude, the ends of the colour scale. */
  get reach() {
    const { min, max } = this.summary;
    const ends = [min, max].map(Number).filter(Number.isFinite).map(Math.abs);
    return Math.max(0, ...ends);
  }

  /** Euclidean norm of the finite values. */
  get norm() {
    return this.summary.norm ?? NaN;
  }
}

/** Strides of the free axes of a slice, 0 on the fixed ones. */
function strides(at, shape) {
  const out = new Array(shape.length).fill(0);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (at[axis] !== null) continue;
    out[axis] = stride;
    stride *= shape[axis];
  }
  return out;
}

/** Flat position of a full index in a slice; -1 if the slice is elsewhere. */
function position(slice, index) {
  let offset = 0;
  for (let axis = 0; axis < index.length; axis++) {
    if (slice.at[axis] !== null && slice.at[axis] !== index[axis]) return -1;
    offset += index[axis] * slice.strides[axis];
  }
  return offset;
}

/** Everything the page asks of a trace. */
class Trace {
  constructor(json) {
    if (json.format !== 'pleach-trace' || json.version !== 1) {
      throw new Error(`This page reads version 1 of pleach-trace, and was given ${json.format} ${json.version}.`);
    }
    Object.assign(this, { title: json.title, model: json.model, note: json.note, classes: json.classes ?? [], lesson: json.lesson ?? null });
    Object.assign(this, { loss: json.loss, examples: json.examples ?? [], leftOut: json.left_out ?? null, focus: json.focus ?? null, fused: new Map((json.fused ?? []).map(f => [f.id, f])) });
    this.tensors = new Map();
    this.named = new Map();
    for (const tensor of json.tensors) {
      const value = tensor.value ? new Values(tensor.value, tensor.shape) : null;
      const grad = tensor.grad ? new Values(tensor.grad, tensor.shape) : null;
      this.tensors.set(tensor.id, { ...tensor, axes: (tensor.axes ?? []).map(axis => axis || undefined), value, grad, maker: null, readers: [], parts: [] });
      this.named.set(tensor.name, this.named.has(tensor.name) ? null : tensor.id);
    }
    this.ops = json.ops.map((op, place) => ({ checks: [], vjp: [], attributes: {}, ...op, place, block: op.block ?? '' }));
    this.byId = new Map(this.ops.map(op => [op.id, op]));
    for (const op of this.ops) {
      const output = this.tensors.get(op.output);
      if (output) output.maker = op;
      for (const id of new Set(op.inputs)) this.tensors.get(id)?.readers.push(op);
    }
    this.backward = (json.backward ?? []).map((step, place) => {
      const op = this.byId.get(step.op);
      op.backwardPlace = place;
      const parts = step.contributions.map(part => {
        const to = this.tensors.get(part.to);
        return { ...part, to, op, place, value: part.value ? new Values(part.value, to.shape) : null };
      });
      for (const part of parts) part.to.parts.push(part);
      return { ...step, op, parts };
    });
  }

  tensor(id) {
    return this.tensors.get(id);
  }

  /** What a link calls a tensor: its name, or `@id` where several have that name. */
  reference(tensor) {
    return this.named.get(tensor.name) === tensor.id ? tensor.name : `@${tensor.id}`;
  }

  /** The tensor that a link names. */
  referred(text) {
    return this.tensor(this.named.get(text)) ?? [...this.tensors.values()].find(tensor => text === `@${tensor.id}` || text === tensor.name);
  }

  /** Steps of a pass. */
  steps(pass) {
    return pass === 'backward' ? this.backward : this.ops;
  }

  /** The op of a step. */
  opAt(pass, step) {
    return pass === 'backward' ? this.backward[step]?.op : this.ops[step];
  }
}

/** The shortest decimal that is this very f32. */
function exact(x) {
  if (Number.isNaN(x)) return 'NaN';
  if (!Number.isFinite(x)) return x > 0 ? '+Inf' : '-Inf';
  if (Object.is(x, -0)) return '-0';
  for (let digits = 1; digits < 9; digits++) {
    const text = x.toPrecision(digits);
    if (Math.fround(Number(text)) === Math.fround(x)) return String(Number(text));
  }
  return String(Number(x.toPrecision(9)));
}

/** A number in few characters, for labels. */
function brief(x, digits = 3) {
  if (x === null || x === undefined) return '-';
  if (typeof x === 'string') return x;
  if (Number.isNaN(x)) return 'NaN';
  if (!Number.isFinite(x)) return x > 0 ? '+Inf' : '-Inf';
  if (x === 0) return '0';
  const size = Math.abs(x);
  if (size >= 1e5 || size < 1e-3) return x.toExponential(Math.max(0, digits - 2)).replace('e+', 'e');
  return String(Number(x.toPrecision(digits)));
}

/** `N 1 × H 32 × W 32 × C 16`, or `scalar`. */
function shapeText(tensor) {
  if (tensor.shape.length === 0) return 'scalar';
  return tensor.shape.map((extent, axis) => (tensor.axes[axis] ? `${tensor.axes[axis]} ${extent}` : String(extent))).join(' × ');
}

/** `n 0, h 3, w 4, c 2` with the names of the axes, or plain indices. */
function indexText(tensor, index) {
  if (index.length === 0) return '';
  return index.map((i, axis) => (tensor.axes[axis] ? `${tensor.axes[axis]}=${i}` : String(i))).join(', ');
}
