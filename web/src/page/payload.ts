// What the page carries: packed files in its own text, and the facts about its model.

import type { Contract } from "../core/manifest";

export interface Figures {
  experiment: string;
  patients: number;
  dice: number;
  organs: Record<string, { dice: number | null; scored: number; missed: number; hallucinated: number }>;
}

export interface Facts {
  name: string;
  sha256: string;
  version: string;
  use: string;
  description: string;
  contract: Contract;
  is_int8: boolean;
  validation_dice: number | null;
  card: {
    summary: string;
    figures: Figures[];
    limits: string[];
    licence: string;
    licence_address: string;
    source: string;
    attribution: string;
  } | null;
}

export function facts(): Facts {
  return JSON.parse(document.getElementById("facts")!.textContent) as Facts;
}

/** Unpack one of the files that the page carries. */
export async function payload(name: string): Promise<ArrayBuffer> {
  const text = document.getElementById(name)!.textContent.trim();
  const answer = await fetch(`data:application/octet-stream;base64,${text}`);
  const stream = answer.body!.pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

/** Return an address at which a script that the page carries can be loaded. */
export async function scriptAddress(name: string): Promise<string> {
  return URL.createObjectURL(new Blob([await payload(name)], { type: "text/javascript" }));
}
