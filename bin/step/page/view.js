// Which two axes of a tensor lie in the plane of a heat map, and the planes themselves.

/** At most this many cells to a row when a vector is wrapped. */
const WRAP = 16;

/** `{row, col, rest}`: the axes shown as rows and columns, and those chosen by selectors. */
function viewAxes(tensor) {
  const { shape, axes } = tensor;
  const rank = shape.length;
  const without = (...taken) => shape.map((_, axis) => axis).filter(axis => !taken.includes(axis));
  if (rank === 0) return { row: null, col: null, rest: [] };
  if (rank === 1) return { row: null, col: 0, rest: [] };
  let [row, col] = [rank - 2, rank - 1];
  const spatial = [['H', 'W'], ['K_h', 'K_w'], ['Kh', 'Kw'], ['kh', 'kw']].find(pair => pair.every(name => axes.includes(name)));
  if (spatial) {
    const pair = spatial.map(name => axes.indexOf(name));
    // A 1x1 plane shows nothing: channels are the picture then.
    if (pair.some(axis => shape[axis] > 1)) [row, col] = pair;
    else [row, col] = without(...pair).slice(-2);
  } else if (rank === 4) {
    [row, col] = [1, 2];
  }
  return { row, col, rest: without(row, col) };
}

/** One plane of a tensor's values: rows by columns, with the full index of each cell. */
class Plane {
  constructor(tensor, values, at) {
    this.tensor = tensor;
    this.values = values;
    this.axes = viewAxes(tensor);
    const { row, col } = this.axes;
    const { shape } = tensor;
    this.wrapped = row === null && col !== null && shape[col] > WRAP;
    const length = col === null ? 1 : shape[col];
    this.cols = this.wrapped ? WRAP : length;
    this.rows = row === null ? (this.wrapped ? Math.ceil(length / WRAP) : Math.min(1, length)) : shape[row];
    if (this.rows === 0 || this.cols === 0) this.rows = this.cols = 0;
    this.base = at;
  }

  /** Full index of a cell; null past the end of a wrapped vector. */
  index(r, c) {
    const { row, col } = this.axes;
    const index = [...this.base];
    if (row !== null) index[row] = r;
    if (col !== null) index[col] = this.wrapped ? r * WRAP + c : c;
    return col !== null && index[col] >= this.tensor.shape[col] ? null : index;
  }

  /** The cell of a full index, or null if the index lies in another plane. */
  cell(index) {
    const { row, col, rest } = this.axes;
    if (rest.some(axis => index[axis] !== this.base[axis])) return null;
    if (col === null) return [0, 0];
    return this.wrapped ? [Math.floor(index[col] / WRAP), index[col] % WRAP] : [row === null ? 0 : index[row], index[col]];
  }

  at(r, c) {
    const reader = this.reader ??= this.read();
    if (reader.floats) {
      const along = this.wrapped ? r * WRAP + c : c;
      return this.wrapped && along >= reader.length ? undefined : reader.floats[reader.start + r * reader.down + along * reader.across];
    }
    const index = this.index(r, c);
    return index ? this.values?.at(index) : undefined;
  }

  /** The one slice that holds this plane, with its strides; a plane that is pieced together is read entry by entry. */
  read() {
    const { row, col } = this.axes;
    const first = this.rows ? this.index(0, 0) : null;
    const slice = first && this.values?.slices.find(s => position(s, first) >= 0 && [row, col].every(axis => axis === null || s.at[axis] === null));
    if (!slice) return {};
    const down = row === null || this.wrapped ? 0 : slice.strides[row];
    return { floats: this.values.floats(slice), start: position(slice, first), down, across: col === null ? 0 : slice.strides[col], length: col === null ? 1 : this.tensor.shape[col] };
  }

  /** Whether the page holds this plane. */
  get here() {
    return this.rows > 0 && this.values !== null && this.values.holds(this.index(0, 0));
  }

  /** Labels of the axes in the plane. */
  get labels() {
    const { row, col } = this.axes;
    const name = axis => (axis === null ? '' : this.tensor.axes[axis] ?? `axis ${axis}`);
    return { row: name(row), col: name(col) };
  }

  /** Largest finite magnitude in the plane, and how many values are not finite. */
  scan() {
    let [reach, nan, inf] = [0, 0, 0];
    for (let r = 0; r < this.rows; r++) {
      for (let c = 0; c < this.cols; c++) {
        const x = this.at(r, c);
        if (x === undefined) continue;
        if (Number.isNaN(x)) nan++;
        else if (!Number.isFinite(x)) inf++;
        else reach = Math.max(reach, Math.abs(x));
      }
    }
    return { reach, nan, inf };
  }
}

/** A place on the selector axes that the page holds, as close to `wanted` as there is. */
function settle(tensor, values, wanted) {
  const { rest } = viewAxes(tensor);
  const index = tensor.shape.map((extent, axis) => Math.max(0, Math.min(extent - 1, wanted?.[axis] ?? 0)));
  if (!values) return index;
  const given = [];
  // The channel was asked for most specifically, so it is settled first.
  for (const axis of [...rest].reverse()) {
    const here = values.available(axis, given, index);
    if (here.length > 0 && !here.includes(index[axis])) {
      index[axis] = here.reduce((best, i) => (Math.abs(i - index[axis]) < Math.abs(best - index[axis]) ? i : best));
    }
    given.push(axis);
  }
  return index;
}
