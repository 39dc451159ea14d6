// What a Bot finds around it besides the language itself: console, timers, text codecs, base64.
(function (core, host) {
  'use strict';

  // Console. Strings as they are, all else as JSON; what cannot be JSON as its name.
  const shown = (value) => {
    if (typeof value === 'string') {
      return value;
    }
    if (value instanceof Error) {
      return `${value.name}: ${value.message}${value.stack ? `\n${value.stack.trimEnd()}` : ''}`;
    }
    try {
      return JSON.stringify(value) ?? String(value);
    } catch {
      return String(value);
    }
  };
  const print = (...values) => host.print(values.map(shown).join(' '));
  const names = ['log', 'info', 'warn', 'error', 'debug', 'trace', 'table', 'dir', 'group'];
  globalThis.console = Object.fromEntries(names.map((name) => [name, print]));
  Object.assign(console, { groupEnd() {}, time() {}, timeEnd() {} });
  console.assert = (holds, ...values) => holds || print('Assertion failed:', ...values);

  // Timers. The host waits when nothing else is left to do.
  const timers = new Map();
  let lastTimer = 0;
  globalThis.setTimeout = (work, milliseconds = 0, ...values) => {
    timers.set(++lastTimer, { at: Date.now() + Math.max(0, milliseconds), work: () => work(...values) });
    return lastTimer;
  };
  globalThis.clearTimeout = (timer) => void timers.delete(timer);
  globalThis.queueMicrotask = (work) => void Promise.resolve().then(work);
  const next = () => [...timers].sort(([a, one], [b, other]) => one.at - other.at || a - b)[0];
  // Milliseconds to the next timer, or -1.
  core.untilTimer = () => (timers.size ? Math.max(0, next()[1].at - Date.now()) : -1);
  core.runTimer = () => {
    const [number, timer] = next();
    timers.delete(number);
    timer.work();
  };

  // UTF-8.
  const LEADS = [0, 0xc0, 0xe0, 0xf0];
  core.encodeUtf8 = (text) => {
    const bytes = [];
    for (const letter of String(text)) {
      const code = letter.codePointAt(0);
      const sound = code >= 0xd800 && code < 0xe000 ? 0xfffd : code;
      const more = sound < 0x80 ? 0 : sound < 0x800 ? 1 : sound < 0x10000 ? 2 : 3;
      bytes.push(LEADS[more] | (sound >> (6 * more)));
      for (let left = more - 1; left >= 0; left--) {
        bytes.push(0x80 | ((sound >> (6 * left)) & 0x3f));
      }
    }
    return Uint8Array.from(bytes);
  };
  core.decodeUtf8 = (bytes) => {
    let escaped = '';
    for (const byte of bytes) {
      escaped += `%${byte.toString(16).padStart(2, '0')}`;
    }
    try {
      return decodeURIComponent(escaped);
    } catch {
      return Array.from(bytes, (byte) => (byte < 0x80 ? String.fromCharCode(byte) : '\ufffd')).join('');
    }
  };
  globalThis.TextEncoder = class TextEncoder {
    encode(text = '') {
      return core.encodeUtf8(text);
    }
  };
  globalThis.TextDecoder = class TextDecoder {
    decode(bytes = []) {
      return core.decodeUtf8(bytes instanceof ArrayBuffer ? new Uint8Array(bytes) : bytes);
    }
  };

  // Base64.
  const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  core.bytesToBase64 = (bytes) => {
    let text = '';
    for (let at = 0; at < bytes.length; at += 3) {
      const group = (bytes[at] << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
      const there = Math.min(3, bytes.length - at) + 1;
      const letters = [18, 12, 6, 0].map((shift) => ALPHABET[(group >> shift) & 63]);
      text += letters.slice(0, there).join('').padEnd(4, '=');
    }
    return text;
  };
  core.base64ToBytes = (text) => {
    const letters = text.replace(/[^A-Za-z0-9+/]/g, '');
    const bytes = [];
    for (let at = 0; at < letters.length; at += 4) {
      const group = [0, 1, 2, 3].reduce((sum, place) => (sum << 6) | Math.max(0, ALPHABET.indexOf(letters[at + place] ?? 'A')), 0);
      const there = Math.min(4, letters.length - at) - 1;
      bytes.push(...[16, 8, 0].slice(0, there).map((shift) => (group >> shift) & 255));
    }
    return Uint8Array.from(bytes);
  };
  globalThis.btoa = (text) => core.bytesToBase64(Array.from(text, (letter) => letter.charCodeAt(0)));
  globalThis.atob = (text) => String.fromCharCode(...core.base64ToBytes(text));
})
