// The model card: measured Dice by structure, contract, known failures, licence.

import { general } from "../core/numbers";
import { make } from "./dom";
import type { Facts, Figures } from "./payload";
import { STRINGS } from "./strings";

export function card(facts: Facts): HTMLElement {
  const parts: Node[] = [];
  if (facts.card) {
    parts.push(make("p", {}, `${facts.card.summary}.`));
    parts.push(...facts.card.figures.slice(0, 1).flatMap(figures));
    parts.push(section(STRINGS.contract, make("p", {}, expects(facts))));
    const failures = facts.card.limits.map((limit) => make("li", {}, limit));
    if (failures.length) parts.push(section(STRINGS.limits, make("ul", {}, ...failures)));
    const { source, licence, licence_address, attribution } = facts.card;
    parts.push(section(STRINGS.licence, make("p", {}, `${source}. ${licence} (${licence_address}). ${attribution}`)));
  } else {
    parts.push(make("p", {}, STRINGS.cardOwn));
    if (facts.validation_dice !== null) {
      parts.push(make("p", {}, STRINGS.cardValidation(facts.validation_dice.toFixed(3))));
    }
    parts.push(section(STRINGS.contract, make("p", {}, expects(facts))));
  }
  if (facts.is_int8) parts.push(section(STRINGS.int8, make("p", {}, STRINGS.int8Means)));
  parts.push(make("p", { class: "quiet" }, STRINGS.madeBy(facts.name, facts.version, facts.sha256)));
  return make("section", { class: "card panel", "aria-labelledby": "card-title" },
    make("h2", { id: "card-title" }, STRINGS.card), ...parts); // prettier-ignore
}

function section(title: string, ...children: Node[]): HTMLElement {
  return make("section", {}, make("h3", {}, title), ...children);
}

function figures(measured: Figures): Node[] {
  const scored = Object.entries(measured.organs).filter(([, organ]) => organ.dice !== null);
  const worst = scored.reduce((low, each) => (each[1].dice! < low[1].dice! ? each : low));
  const header = [STRINGS.structure, STRINGS.measuredDice, STRINGS.patients, STRINGS.missed, STRINGS.falsePositive];
  const rows = Object.entries(measured.organs).map(([name, organ]) =>
    make("tr", {},
      make("th", { scope: "row" }, name),
      ...[organ.dice?.toFixed(3) ?? "–", organ.scored, organ.missed, organ.hallucinated].map((value) =>
        make("td", {}, String(value))),
    ), // prettier-ignore
  );
  const table = make("table", {},
    make("thead", {}, make("tr", {}, ...header.map((title) => make("th", { scope: "col" }, title)))),
    make("tbody", {}, ...rows)); // prettier-ignore
  return [
    make("p", {}, STRINGS.figures(measured.experiment, measured.dice.toFixed(3)), " ",
      STRINGS.worst(worst[0], worst[1].dice!.toFixed(3))), // prettier-ignore
    make("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": STRINGS.measuredDice }, table),
  ];
}

function expects({ contract }: Facts): string {
  const { modality, channels } = contract.preprocessing;
  const intensities = modality === "CT" ? ` ${STRINGS.hounsfield}` : modality === "MR" ? ` ${STRINGS.anyUnit}` : "";
  const range = contract.spacing_range;
  const spacing = range
    ? [
        STRINGS.slicesApart(...(range.slices_mm.map((end) => general(end, 3)) as [string, string])),
        STRINGS.pixelsOf(...(range.in_plane_mm.map((end) => general(end, 3)) as [string, string])),
      ].join(", ")
    : STRINGS.anySpacing;
  const kind = `${STRINGS.expects(modality, channels)}${intensities}`;
  return modality === "picture" ? `${kind}.` : `${kind}; ${spacing}.`;
}
