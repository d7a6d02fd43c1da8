// What the page carries: scenes as JSON, volumes as base64 of zlib-compressed bytes.

export function readScenes() {
  return JSON.parse(document.getElementById("scenes").textContent);
}

// A moment with its volumes unpacked; kept, so that going back costs nothing.
const unpacked = new WeakMap();

export function momentOf(scene, index) {
  const packed = scene.moments[index];
  if (!unpacked.has(packed)) unpacked.set(packed, unpackMoment(packed));
  return unpacked.get(packed);
}

async function unpackMoment(packed) {
  const entries = await Promise.all(Object.entries(packed.volumes).map(async ([key, text]) => [key, await bytes(text)]));
  return { ...packed, volumes: Object.fromEntries(entries), seen: packed.seen ? await bytes(packed.seen) : null };
}

async function bytes(text) {
  const raw = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
