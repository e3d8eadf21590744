// What draws in this browser.

const SOFTWARE = /swiftshader|llvmpipe|software|basic render/i;

/** Return what draws: a graphics card, a program (a picture in 3-D then takes seconds, not milliseconds), or nothing. */
export function graphics(): "card" | "software" | "none" {
  const context = document.createElement("canvas").getContext("webgl2");
  if (!context) return "none";
  const facts = context.getExtension("WEBGL_debug_renderer_info");
  const drawnBy = facts === null ? "" : String(context.getParameter(facts.UNMASKED_RENDERER_WEBGL));
  return SOFTWARE.test(drawnBy) ? "software" : "card";
}
