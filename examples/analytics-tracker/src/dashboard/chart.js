"use strict";
// A line over time with the period before behind it, drawn as SVG.
class Chart {
  static MARGIN = { top: 12, right: 14, bottom: 26, left: 40 };

  constructor(place) {
    this.place = place;
    this.tip = element("div", "tip");
    this.tip.setAttribute("role", "status");
    this.tip.hidden = true;
    this.svg = this.shape("svg", { role: "img", tabindex: 0 });
    place.append(this.svg, this.tip);
    this.svg.addEventListener("pointermove", (event) => this.point(this.nearest(event.offsetX)));
    this.svg.addEventListener("pointerleave", () => this.point(null));
    this.svg.addEventListener("blur", () => this.point(null));
    this.svg.addEventListener("keydown", (event) => this.step(event));
    new ResizeObserver(() => this.draw()).observe(place);
  }

  // data: { step, times, now, before }: the first moments of the periods, and how many events each has.
  show(data) {
    this.data = data;
    this.draw();
  }

  draw() {
    if (!this.data) return;
    const { times, now, before } = this.data;
    const { top, right, bottom, left } = Chart.MARGIN;
    this.width = this.place.clientWidth;
    this.height = this.place.clientHeight;
    const { ceiling, stride } = Chart.scale(Math.max(1, ...now, ...before));
    this.x = (index) => left + (index / Math.max(1, times.length - 1)) * (this.width - left - right);
    this.y = (value) => this.height - bottom - (value / ceiling) * (this.height - top - bottom);

    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.svg.setAttribute("aria-label", this.describe());
    this.svg.replaceChildren(this.fade(), ...this.grid(ceiling, stride), ...this.axis());
    const line = this.path(now);
    const floor = this.y(0);
    const area = `${line}L${this.x(now.length - 1)},${floor}L${this.x(0)},${floor}Z`;
    this.marks = this.shape("g", {});
    this.svg.append(
      this.shape("path", { class: "before", d: this.path(before) }),
      this.shape("path", { class: "area", d: area }),
      this.shape("path", { class: "line", d: line }),
      this.marks,
    );
    this.point(this.pointed ?? null);
  }

  // The round number above the highest value, and the distance of the lines below it.
  static scale(highest) {
    const rough = highest / 4;
    const power = 10 ** Math.floor(Math.log10(rough));
    const strides = [1, 2, 2.5, 5, 10].map((step) => step * power).filter(Number.isInteger);
    const stride = strides.find((step) => step >= rough) ?? 1;
    return { stride, ceiling: Math.ceil(highest / stride) * stride };
  }

  path(values) {
    return values.map((value, index) => `${index ? "L" : "M"}${this.x(index).toFixed(1)},${this.y(value).toFixed(1)}`).join("");
  }

  fade() {
    const fade = this.shape("linearGradient", { id: "fade", x1: 0, y1: 0, x2: 0, y2: 1 });
    fade.append(
      this.shape("stop", { class: "area-top", offset: 0 }),
      this.shape("stop", { class: "area-end", offset: 1 }),
    );
    const definitions = this.shape("defs", {});
    definitions.append(fade);
    return definitions;
  }

  grid(ceiling, stride) {
    const lines = [];
    for (let value = 0; value <= ceiling; value += stride) {
      const y = this.y(value);
      lines.push(
        this.shape("line", { class: "grid", x1: Chart.MARGIN.left, x2: this.width - Chart.MARGIN.right, y1: y, y2: y }),
        this.text(Chart.MARGIN.left - 8, y + 4, "end", short.format(value)),
      );
    }
    return lines;
  }

  axis() {
    const { times } = this.data;
    const room = Math.max(2, Math.floor((this.width - 60) / 84));
    const every = Math.ceil(times.length / room);
    const labels = [];
    for (let index = times.length - 1; index >= 0; index -= every) {
      const anchor = index === times.length - 1 ? "end" : "middle";
      if (this.x(index) > Chart.MARGIN.left + 14) labels.push(this.text(this.x(index), this.height - 6, anchor, this.name(times[index])));
    }
    return labels;
  }

  name(time) {
    const { step, times } = this.data;
    return step * times.length > 24 * HOUR ? day.format(time) : clock.format(time);
  }

  describe() {
    const { times, now } = this.data;
    const total = now.reduce((sum, value) => sum + value, 0);
    const peak = now.indexOf(Math.max(...now));
    if (!total) return "Events over time: none.";
    return `Events over time: ${whole.format(total)}, most at ${this.period(times[peak])}: ${whole.format(now[peak])}. Arrow keys show each period.`;
  }

  period(time) {
    const { step, times } = this.data;
    const date = step * times.length > 24 * HOUR ? `${day.format(time)}, ` : "";
    return step === MINUTE ? clock.format(time) : `${date}${clock.format(time)} – ${clock.format(new Date(+time + step))}`;
  }

  nearest(x) {
    if (!this.data) return null;
    const last = this.data.times.length - 1;
    const share = (x - this.x(0)) / (this.x(last) - this.x(0));
    return Math.min(last, Math.max(0, Math.round(share * last)));
  }

  step(event) {
    const last = (this.data?.times.length ?? 0) - 1;
    const from = this.pointed ?? last + (event.key === "ArrowLeft" ? 1 : 0);
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last, Escape: null }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.point(to === null ? null : Math.min(last, Math.max(0, to)));
  }

  point(index) {
    this.pointed = index;
    this.tip.hidden = index === null;
    this.marks?.replaceChildren();
    if (index === null || !this.marks) return;
    const { times, now, before } = this.data;
    const [x, y] = [this.x(index), this.y(now[index])];
    this.marks.append(
      this.shape("line", { class: "cross", x1: x, x2: x, y1: Chart.MARGIN.top, y2: this.height - Chart.MARGIN.bottom }),
      this.shape("circle", { class: "spot", cx: x, cy: y, r: 4.5 }),
    );
    this.tip.replaceChildren(
      element("b", "", `${whole.format(now[index])} ${now[index] === 1 ? "event" : "events"}`),
      `${this.period(times[index])} · before: ${whole.format(before[index])}`,
    );
    const left = Math.min(Math.max(0, x - this.tip.offsetWidth / 2), this.width - this.tip.offsetWidth);
    const above = y - this.tip.offsetHeight - 14;
    this.tip.style.transform = `translate(${left}px, ${above < 0 ? y + 16 : above}px)`;
  }

  text(x, y, anchor, words) {
    const text = this.shape("text", { x, y, "text-anchor": anchor });
    text.append(words);
    return text;
  }

  shape(name, attributes) {
    const shape = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [attribute, value] of Object.entries(attributes)) shape.setAttribute(attribute, value);
    return shape;
  }
}
