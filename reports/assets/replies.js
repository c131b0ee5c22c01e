"use strict";
/* What the player says of a step: its action, the model's reply, what it did, and the candidates of a search. */
HL.told = (() => {
  /** An action in words. */
  function action(one) {
    const place = one.box ? ` box ${one.box.join(", ")}` : "";
    switch (one.kind) {
      case "click": return `${one.positive ? "positive" : "negative"} click at ${one.x}, ${one.y}${place && " with" + place}`;
      case "box": return place.trim();
      case "stop": return "stop";
      case "none": return "no such object";
      case "predict": return "predicted the IoU of this mask";
      default: return `invalid reply (${HL.visible(String(one.reason ?? one.kind)).replaceAll("_", " ")})`;
    }
  }

  /** The sign of an action on its button. */
  function sign(one) {
    if (!one) return "";
    if (one.kind === "click") return one.positive ? "⊕" : "⊖";
    return { box: "▭", stop: "■", none: "∅", predict: "?" }[one.kind] ?? "!";
  }

  const percent = (value, digits = 1) => (value == null ? "–" : `${HL.number(100 * value, digits)} %`);

  const row = ([name, value, note]) => HL.el("div", {}, HL.el("dt", {}, name), HL.el("dd", {}, value, note ? HL.el("span", { class: "note" }, ` ${note}`) : ""));

  /** Rows [name, value, note] about an episode after t steps, whose mask has this IoU now; `did` names what the step did. */
  function rows(episode, t, iou, noTarget, did) {
    const own = Math.min(t, episode.steps.length);
    const step = own ? episode.steps[own - 1] : null;
    const before = own > 1 ? episode.steps[own - 2].iou : episode.initial.iou;
    const change = own ? `${iou >= before ? "+" : "−"}${(100 * Math.abs(iou - before)).toFixed(1)} points` : "before the first step";
    const found = [["IoU", HL.el("output", { class: "iou", "data-iou": iou }, percent(iou, 2)), change]];
    const recorded = own ? step.iou : episode.initial.iou;
    if (Math.abs(recorded - iou) > 1e-6) found.push(["Recorded IoU", percent(recorded, 4), "differs from the masks"]);
    if (noTarget) found.push(["Ground truth", "no such object", "an empty mask is right"]);
    if (step) found.push(...ofStep(step, before, did));
    if (own < t) found.push(["Ended", `after step ${episode.steps.length}`, HL.visible(episode.stop)]);
    if (episode.error && own === episode.steps.length) found.push(["Error", HL.visible(episode.error), ""]);
    return found.map(row);
  }

  function ofStep(step, before, did) {
    const seconds = Object.entries(step.seconds ?? {}).map(([part, value]) => `${part} ${value.toFixed(2)} s`).join(", ");
    const tokens = step.tokens?.out == null ? "" : `${step.tokens.in ?? "?"} in, ${step.tokens.out} out`;
    const found = [["Action", action(step.action), ""]];
    if (did) found.push(["What it did", HL.el("span", { class: `did ${did.replaceAll(" ", "-")}` }, did), ""]);
    const judged = step.action.kind === "predict" ? "of this mask" : `of the mask before, whose IoU is ${percent(before)}`;
    if (step.predicted_iou != null) found.push(["Predicted IoU", percent(step.predicted_iou), judged]);
    if (step.finish) found.push(["Reply ended by", HL.visible(String(step.finish)), ""]);
    if (seconds) found.push(["Time", seconds, tokens && `tokens: ${tokens}`]);
    return found;
  }

  /** The candidates of a search at a step; `shown` is called with one that is chosen. */
  function candidates(step, shown) {
    if (!step?.candidates?.length) return [];
    const lines = step.candidates.map((one) => {
      const replies = (one.replies ?? []).map((reply) => HL.visible(typeof reply === "string" ? reply : String(reply?.raw ?? reply?.text ?? "")));
      const told = replies.length ? [HL.el("details", {}, HL.el("summary", {}, replies.length > 1 ? `${replies.length} replies` : "reply"),
        ...replies.map((text) => HL.el("pre", { class: "reply", tabindex: "0", "aria-label": "Reply of the candidate" }, text || "empty reply")))] : [];
      return HL.el("tr", {},
        HL.el("th", { scope: "row" }, HL.el("button", { type: "button", class: "link", onclick: () => shown(one) }, action(one.action)), ...told),
        HL.el("td", {}, percent(one.predicted_iou)), HL.el("td", {}, percent(one.iou)), HL.el("td", {}, one.chosen ? "chosen" : ""));
    });
    const heads = ["Candidate (shows its mask)", "predicted IoU", "IoU", "taken"].map((text) => HL.el("th", { scope: "col" }, text));
    return [HL.el("table", { class: "numbers plain" }, HL.el("thead", {}, HL.el("tr", {}, ...heads)), HL.el("tbody", {}, ...lines))];
  }

  return { action, sign, percent, rows, candidates };
})();
