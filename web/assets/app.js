// What a page does beyond links, forms and htmx. Every page works without it; nothing here decides or knows anything.
(() => {
  'use strict';
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));

  // The menu of a narrow screen.
  for (const button of all('[data-menu]')) {
    button.addEventListener('click', () => {
      const open = document.getElementById('menu').classList.toggle('open');
      button.setAttribute('aria-expanded', String(open));
    });
  }

  // A sentence about what was done is said once, and not again when the page is read anew.
  const address = new URL(location.href);
  if (address.searchParams.has('said')) {
    address.searchParams.delete('said');
    history.replaceState(null, '', address);
  }

  // A row of stages that does not fit shows where it stands.
  for (const here of all('.steps > .here')) here.parentElement.scrollLeft = (here.previousElementSibling || here).offsetLeft - here.parentElement.offsetLeft;

  // Popups close when somebody goes elsewhere.
  document.addEventListener('click', (event) => {
    for (const popup of all('details.popup[open]')) if (!popup.contains(event.target)) popup.open = false;
  });

  // Fields that are asked only for some answers.
  const ask = (form) => {
    for (const part of all('[data-when]', form)) {
      const name = part.dataset.when;
      const deciding = all('input,select', form).filter((e) => e.name === name);
      if (deciding.length === 0) continue;
      const chosen = deciding.filter((e) => (e.type !== 'radio' && e.type !== 'checkbox') || e.checked).map((e) => e.value);
      const asked = chosen.some((value) => part.dataset.is.split(' ').includes(value));
      part.hidden = !asked;
      for (const e of all('input,select,textarea', part)) e.disabled = !asked;
    }
  };
  const prepare = (root) => {
    for (const form of all('form', root)) ask(form);
    for (const e of all('[data-focus]', root)) e.focus();
    for (const e of all('[data-countdown]', root)) count(e);
    for (const e of all('[data-gone-after]', root)) {
      setTimeout(() => { const again = e.dataset.again; if (again && window.htmx) htmx.ajax('GET', again, { target: e, swap: 'outerHTML' }); else e.remove(); }, 1000 * Number(e.dataset.goneAfter));
    }
  };
  document.addEventListener('change', (event) => { if (event.target.form) ask(event.target.form); });
  document.addEventListener('htmx:after:swap', (event) => prepare(event.target instanceof Element ? event.target.closest('main') || document : document));
  // What is shown beside a list is below it on a narrow screen, and is gone to.
  const preview = document.getElementById('preview');
  if (preview) new MutationObserver(() => { if (preview.getBoundingClientRect().top > innerHeight) preview.scrollIntoView(); }).observe(preview, { childList: true });

  // Time that runs out: emergency access, a claim, a value that was revealed.
  function count(e) {
    if (e.dataset.counting) return;
    e.dataset.counting = 'yes';
    const until = Date.parse(e.dataset.countdown);
    const tick = () => {
      const left = Math.max(0, Math.round((until - Date.now()) / 1000));
      const h = Math.floor(left / 3600), m = Math.floor(left / 60) % 60, s = left % 60;
      e.textContent = (h > 0 ? h + ':' + String(m).padStart(2, '0') : m) + ':' + String(s).padStart(2, '0');
      if (left === 0) { clearInterval(timer); if (e.dataset.reload !== undefined) location.reload(); }
    };
    const timer = setInterval(tick, 1000);
    tick();
  }

  // What moves in the register: pages that follow ask again. Only a page that is looked at follows.
  let stream = null;
  const follow = () => {
    const follows = document.querySelector('[hx-trigger*="live"]') && !document.body.classList.contains('bare');
    if (document.hidden || !follows) { if (stream) stream.close(); stream = null; return; }
    if (stream) return;
    stream = new EventSource('/live');
    stream.addEventListener('live', () => { if (window.htmx) htmx.trigger(document.body, 'live'); });
  };
  document.addEventListener('visibilitychange', follow);

  // The keyboard: / looks for something, g and a letter goes somewhere, j and k go through rows, . opens what can be done, ? tells all this.
  let going = 0;
  const typing = (e) => e.closest('input,textarea,select,[contenteditable],dialog[open]');
  const rows = () => all('[data-rows] [data-row]');
  const mark = (row) => {
    for (const other of rows()) other.removeAttribute('aria-selected');
    row.setAttribute('aria-selected', 'true');
    (row.querySelector('a,button') || row).focus({ preventScroll: true });
    row.scrollIntoView({ block: 'nearest' });
  };
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (Date.now() - going < 1500) {
      going = 0;
      const link = document.querySelector('#menu a[data-go="' + CSS.escape(event.key) + '"]');
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    const list = rows();
    const at = list.findIndex((row) => row.getAttribute('aria-selected') === 'true');
    switch (event.key) {
      case 'g': going = Date.now(); break;
      case '/': { const field = document.querySelector('[data-shortcut="/"]'); if (field) { event.preventDefault(); field.focus(); } break; }
      case '?': { const keys = document.getElementById('keys'); if (keys) keys.showModal(); break; }
      case 'j': if (list.length) mark(list[Math.min(at + 1, list.length - 1)]); break;
      case 'k': if (list.length) mark(list[Math.max(at - 1, 0)]); break;
      case '.': { const act = list[at] && list[at].querySelector('[data-act]'); if (act) { event.preventDefault(); act.click(); act.focus(); } break; }
    }
  });

  // Sending a form shows that it is under way, and a second click does not send it again.
  document.addEventListener('submit', (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.method === 'dialog' || form.dataset.sending) { if (form.dataset.sending) event.preventDefault(); return; }
    if (form.method === 'post' && !form.hasAttribute('hx-post')) {
      form.dataset.sending = 'yes';
      setTimeout(() => delete form.dataset.sending, 8000);
    }
  });
  window.addEventListener('pageshow', () => { for (const form of all('form')) delete form.dataset.sending; });

  // A file can be dropped where it can be chosen.
  for (const zone of all('.drop')) {
    const field = zone.querySelector('input[type=file]');
    zone.addEventListener('dragover', (event) => { event.preventDefault(); zone.classList.add('over'); });
    zone.addEventListener('dragleave', () => zone.classList.remove('over'));
    zone.addEventListener('drop', (event) => {
      event.preventDefault();
      zone.classList.remove('over');
      if (field && event.dataTransfer.files.length) { field.files = event.dataTransfer.files; field.dispatchEvent(new Event('change', { bubbles: true })); }
    });
  }

  // Forms that are typed one after the other, with the keyboard alone: Enter goes to the next field, and sends the form from the last one.
  document.addEventListener('keydown', (event) => {
    const form = event.key === 'Enter' && event.target.closest('form[data-next]');
    if (!form || event.isComposing || !event.target.matches('input:not([type=hidden]), select')) return;
    event.preventDefault();
    const fields = all('input:not([type=hidden]), select', form).filter((e) => !e.disabled && e.offsetParent);
    const next = fields[fields.indexOf(event.target) + 1];
    if (next) { next.focus(); if (next.select) next.select(); } else form.requestSubmit();
  });

  // All boxes of a table at once.
  document.addEventListener('change', (event) => {
    if (!event.target.matches('[data-all]')) return;
    for (const box of all('input[name="' + CSS.escape(event.target.dataset.all) + '"]')) if (!box.disabled) box.checked = event.target.checked;
  });

  for (const link of all('[data-back]')) link.addEventListener('click', (event) => { if (history.length > 1) { event.preventDefault(); history.back(); } });
  for (const button of all('[data-print]')) button.addEventListener('click', () => window.print());

  prepare(document);
  follow();
})();
