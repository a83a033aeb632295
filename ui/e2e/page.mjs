// A browser page that watches itself: foreign requests, violations of the content policy, errors
// on the console. Waiting is done by evaluating from outside, because the policy forbids eval.

/** Opens the page; `options`: path, colorScheme, reducedMotion, before(page) to intercept requests, allow(problem). */
export async function openPage(browser, base, options) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: options.colorScheme ?? 'light', reducedMotion: options.reducedMotion ?? 'no-preference' });
  const page = await context.newPage();
  const problems = [];
  const requests = [];
  const notes = [];
  const origin = new URL(base).origin;
  const report = (problem) => {
    if (!options.allow?.(problem)) problems.push(problem);
  };
  page.on('console', (message) => {
    if (message.type() === 'error' || /content security policy/i.test(message.text())) report(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => report(`exception: ${error.message}`));
  page.on('request', (request) => {
    requests.push(request);
    const url = new URL(request.url());
    if (url.origin !== origin && url.protocol !== 'blob:') report(`foreign request: ${url}`);
  });
  await page.addInitScript(() => {
    window.__violations = [];
    document.addEventListener('securitypolicyviolation', (event) => window.__violations.push(`${event.violatedDirective} ${event.blockedURI}`));
    window.__longTasks = [];
    new PerformanceObserver((list) => window.__longTasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: 'longtask', buffered: true });
    window.__frames = {
      begin() {
        this.times = [];
        this.on = true;
        const next = (time) => {
          this.times.push(time);
          if (this.on) requestAnimationFrame(next);
        };
        requestAnimationFrame(next);
        window.__longTasks.length = 0;
      },
      end() {
        this.on = false;
        const between = this.times.slice(1).map((time, i) => time - this.times[i]).sort((a, b) => a - b);
        const at = (share) => Math.round(between[Math.min(between.length - 1, Math.floor(between.length * share))]);
        return { count: between.length, p50: at(0.5), p95: at(0.95), max: at(1), script: window.__longTasks.map((ms) => Math.round(ms)).join('+') || 'under 50' };
      },
    };
  });
  await options.before?.(page);
  const response = await page.goto(base + (options.path ?? '/'));

  const opened = {
    page,
    base,
    requests,
    problems,
    response,
    notes,

    /** Evidence that is printed with the result; numbers that no test can judge. */
    note: (line) => notes.push(line),
    probe: (read) => page.evaluate(read),

    /** Repeats `read` in the page until `enough` accepts what it gives. */
    async until(what, read, enough = Boolean, timeoutMs = 20_000) {
      const end = Date.now() + timeoutMs;
      let last;
      for (;;) {
        last = await page.evaluate(read).catch((error) => error.message);
        if (enough(last)) return last;
        if (Date.now() > end) throw new Error(`waited in vain for: ${what}; last seen: ${JSON.stringify(last)?.slice(0, 300)}`);
        await page.waitForTimeout(30);
      }
    },

    /** The boxes of the flame graph, once there are some and nothing is loading. */
    painted() {
      return opened.until(
        'a painted flame graph',
        () => (window.__decima?.idle ? window.__decima.visible() : []),
        (boxes) => Array.isArray(boxes) && boxes.some((box) => box.kind === 'node' && box.depth > 0),
      );
    },

    async click(box) {
      await page.mouse.click(box.x + box.width / 2, box.y + box.height / 2);
    },

    expectClean() {
      if (problems.length > 0) throw new Error(problems.join('; '));
    },

    async close() {
      await context.close();
    },
  };
  const close = opened.close;
  opened.close = async () => {
    const violations = await page.evaluate(() => window.__violations ?? []).catch(() => []);
    if (violations.length > 0) console.log(`      policy violations: ${violations.join(', ')}`);
    await close();
  };
  return opened;
}

/** Fails with both values where they differ from what is expected. */
export function check(condition, message) {
  if (!condition) throw new Error(message);
}
