// Times each work over the corpus, one after the other in every round; the first rounds are for the compiler.
const bytes = async (path) => (await fetch(path)).arrayBuffer();

const measure = async () => {
  const { instance } = await WebAssembly.instantiate(await bytes('/module.wasm'), {});
  const { memory, heaptide_room, heaptide_load, heaptide_run } = instance.exports;
  const corpus = new Uint8Array(await bytes('/corpus'));
  const place = heaptide_room(corpus.length);
  new Uint8Array(memory.buffer, place, corpus.length).set(corpus);
  if (heaptide_load() === 0) throw new Error('the module can not read the corpus');
  const times = [[], [], [], []];
  const warm = 5;
  for (let round = 0; round < warm + ROUNDS; round++) {
    for (let work = 0; work < times.length; work++) {
      const before = performance.now();
      if (heaptide_run(work) === 0) throw new Error(`work ${work} did nothing`);
      const spent = performance.now() - before;
      if (round >= warm) times[work].push(spent);
    }
  }
  return JSON.stringify(times);
};

measure().then(postMessage, (error) => postMessage(String(error)));
