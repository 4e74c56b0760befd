// "Predict, then reveal": before a step is shown, a question about it. A lesson brings its own; otherwise the trace gives one.

class Predict {
  constructor(app) {
    this.app = app;
    this.answers = new Map();
  }

  get key() {
    const { pass, step } = this.app.state;
    return `${pass}/${step}`;
  }

  /** Whether this step's results are still hidden. */
  get veiled() {
    return this.app.state.predict && !this.answers.has(this.key) && this.question !== null;
  }

  /** `{question, choices, answer, why}` for this step, or null. */
  get question() {
    if (this.asked?.key === this.key) return this.asked.question;
    const question = this.app.note?.predict ?? this.fromTrace();
    this.asked = { key: this.key, question };
    return question;
  }

  /** A question whose answer is in the trace. */
  fromTrace() {
    const { app } = this;
    const { op } = app;
    if (!op) return null;
    const output = app.trace.tensor(op.output);
    if (app.state.pass === 'forward') {
      const right = `(${output.shape.join(', ')})`;
      const others = new Set([right]);
      for (const id of op.inputs) others.add(`(${app.trace.tensor(id)?.shape.join(', ')})`);
      const variants = [s => s.map((d, i) => (i && i < s.length - 1 ? Math.max(1, d >> 1) : d)), s => s.slice(0, -1), s => [...s].reverse(), s => [...s, 1], s => s.map(d => d * 2), s => s.map(d => d + 1)];
      for (const variant of variants) if (others.size < 4) others.add(`(${variant(output.shape).join(', ')})`);
      const choices = [...others].slice(0, 4).sort();
      return { question: `Which shape does ${op.op} give here?`, choices, answer: choices.indexOf(right) };
    }
    const step = app.trace.backward[app.state.step];
    const incoming = app.trace.tensor(step.incoming) ?? output;
    const parts = step.parts.filter(part => Number.isFinite(part.norm));
    if (parts.length > 1) {
      const most = parts.reduce((a, b) => (b.norm > a.norm ? b : a));
      return { question: 'Which input receives the gradient of the largest norm?', choices: parts.map(part => part.to.name), answer: parts.indexOf(most) };
    }
    const before = incoming.grad?.norm;
    if (parts.length !== 1 || !(before > 0)) return null;
    const ratio = parts[0].norm / before;
    const answer = ratio > 1.02 ? 0 : ratio < 0.98 ? 2 : 1;
    return { question: 'What happens to the norm of the gradient as it passes back through this op?', choices: ['It grows', 'It stays the same', 'It shrinks'], answer, why: `It goes from ${brief(before)} to ${brief(parts[0].norm)}.` };
  }

  answer(choice) {
    this.answers.set(this.key, choice);
    this.app.refresh();
    const { question } = this;
    this.app.say(choice === null ? 'Revealed.' : choice === this.right(question) ? 'Right.' : `Not quite: ${question.choices[this.right(question)]}.`);
  }

  /** The answer's position: traces give it as a position or as the choice itself. */
  right(question) {
    return typeof question.answer === 'number' ? question.answer : question.choices.indexOf(question.answer);
  }

  card() {
    if (!this.app.state.predict) return null;
    const { question } = this;
    if (!question) return null;
    const given = this.answers.get(this.key);
    const done = this.answers.has(this.key);
    const right = this.right(question);
    const choices = question.choices.map((text, i) => button(
      [el('span', { class: 'digit', 'aria-hidden': 'true' }, String(i + 1)), el('span', {}, String(text)), done && i === right ? el('span', { class: 'mark' }, '✓ right') : done && i === given ? el('span', { class: 'mark' }, '✗ your answer') : null],
      () => this.answer(i),
      { class: `choice${done && i === right ? ' right' : done && i === given ? ' wrong' : ''}`, disabled: done, key: `choice-${i}` }));
    const all = [...this.answers.values()].filter(answer => answer !== null);
    return el('section', { class: 'card predict', 'aria-labelledby': 'predict-title' },
      el('h3', { id: 'predict-title' }, 'Predict'), el('p', { class: 'question-text' }, question.question),
      el('div', { class: 'choices', role: 'group', 'aria-label': 'Choices' }, choices),
      done ? question.why ? el('p', {}, question.why) : null : button('Reveal without answering', () => this.answer(null), { class: 'linkish', key: 'reveal' }),
      all.length ? muted('p', `${all.length} answered so far.`) : null);
  }
}
