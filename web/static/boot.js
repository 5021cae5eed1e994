// Loads the one module, hands it to the worker as well (compiled once), and starts the page.
// Whatever fails, here or later in Rust, ends up in plain HTML outside the app, with a report to copy.

const fatal = document.getElementById('fatal');
const reports = [];

globalThis.heaptideFatal = (text) => {
  if (reports.length >= 5) return;
  // Where in the module it was: `wasm-function[…]:0x…`, which a build with names can tell.
  reports.push(`${text}\n${new Error().stack}`);
  document.getElementById('fatal-report').textContent =
    `${reports.join('\n\n')}\n\npage ${location.pathname}\n${navigator.userAgent}\n${new Date().toISOString()}`;
  fatal.hidden = false;
  document.getElementById('fatal-reload').focus();
};

document.getElementById('fatal-reload').addEventListener('click', () => location.reload());
document.getElementById('fatal-close').addEventListener('click', () => {
  fatal.hidden = true;
});
document.getElementById('fatal-copy').addEventListener('click', (event) => {
  const report = document.getElementById('fatal-report');
  getSelection().selectAllChildren(report);
  navigator.clipboard?.writeText(report.textContent).then(() => {
    event.target.textContent = 'Copied';
  });
});

async function compile(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: the hub answered ${response.status}`);
  const type = response.headers.get('content-type') ?? '';
  // Streaming compilation insists on the type.
  if (type.startsWith('application/wasm')) return WebAssembly.compileStreaming(response);
  return WebAssembly.compile(await response.arrayBuffer());
}

try {
  const worker = new Worker('/{{worker.js}}', { type: 'module', name: 'heaptide' });
  worker.addEventListener('message', ({ data }) => {
    if (data?.fatal) globalThis.heaptideFatal(`worker: ${data.fatal}`);
  });
  worker.addEventListener('error', (event) => {
    globalThis.heaptideFatal(`worker: ${event.message ?? 'could not be loaded'}`);
  });
  const [module, app] = await Promise.all([compile('/{{app_bg.wasm}}'), import('/{{app.js}}')]);
  worker.postMessage({ module });
  await app.default({ module_or_path: module });
  app.start(worker);
  // For tests from outside: the Worker's analysis as one number.
  globalThis.__heaptide.parity = () => new Promise((done) => {
    worker.addEventListener('message', function answer({ data }) {
      if (typeof data?.parity !== 'string') return;
      worker.removeEventListener('message', answer);
      done(data.parity);
    });
    worker.postMessage({ ask: 'parity' });
  });
} catch (error) {
  globalThis.heaptideFatal(`The console could not start: ${error}`);
}
