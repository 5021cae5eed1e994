// The worker: gets the compiled module first, then the page's messages, which wait until it is ready.
import init, { worker_message, worker_parity, worker_start } from '/{{app.js}}';

globalThis.heaptideFatal = (text) => postMessage({ fatal: `${text}\n${new Error().stack}` });

const waiting = [];
let ready = false;

onmessage = async ({ data }) => {
  if (ready && data.ask === 'parity') {
    postMessage({ parity: worker_parity() });
  } else if (ready) {
    worker_message(new Uint8Array(data));
  } else if (data.module) {
    try {
      await init({ module_or_path: data.module });
      worker_start();
      ready = true;
      for (const early of waiting.splice(0)) worker_message(new Uint8Array(early));
    } catch (error) {
      globalThis.heaptideFatal(String(error));
    }
  } else {
    waiting.push(data);
  }
};
