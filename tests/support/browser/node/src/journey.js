// A person's way through the pages, in Chromium, once without JavaScript; and what axe says of each page.
//
//   node journey.js '{"chromium": …, "url": …, "key": …, "out": …, "pages": {name: path}, "find": {…}}'
//
// Prints what was seen as JSON. Pictures of every page go to the folder `out`.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const LOOKS = [
  { name: "light", colorScheme: "light", viewport: { width: 1200, height: 800 } },
  { name: "dark", colorScheme: "dark", viewport: { width: 1200, height: 800 } },
  { name: "phone", colorScheme: "light", viewport: { width: 375, height: 800 }, hasTouch: true },
];
const asked = JSON.parse(process.argv[2]);

async function signIn(page) {
  await page.goto(`${asked.url}/ui/runs`);
  await page.getByLabel("API key that may read").fill(asked.key);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { level: 1, name: "Runs" }).waitFor();
}

// Find last week's refused run, read why, see what verifying it found, and take it along.
async function journey(browser) {
  const context = await browser.newContext({ javaScriptEnabled: false, acceptDownloads: true });
  const page = await context.newPage();
  await signIn(page);
  await page.getByLabel("Outcome").selectOption("refused");
  await page.getByLabel("Arrived from").fill(asked.find.since);
  await page.getByLabel("Arrived to").fill(asked.find.until);
  await page.getByRole("button", { name: "Search" }).click();
  const rows = page.getByRole("table").getByRole("row");
  const found = await rows.count();
  await rows.nth(1).getByRole("link").click();
  const seen = {
    found: found - 1,
    title: await page.getByRole("heading", { level: 1 }).innerText(),
    why: await page.locator(".notice").innerText(),
    approved: await page.getByRole("region", { name: "Approval" }).innerText(),
    checks: await page.getByRole("region", { name: "Checks" }).getByRole("row").allInnerTexts(),
    trail: await page.getByRole("region", { name: "Trail" }).getByRole("row").allInnerTexts(),
    timeline: await page.locator(".timeline h3").allInnerTexts(),
    downloads: {},
  };
  const links = page.getByRole("region", { name: "Trail" }).getByRole("listitem").getByRole("link");
  for (let number = 0; number < (await links.count()); number++) {
    const [download] = await Promise.all([page.waitForEvent("download"), links.nth(number).click()]);
    const path = join(asked.out, `${number}-${download.suggestedFilename()}`);
    await download.saveAs(path);
    seen.downloads[await links.nth(number).innerText()] = path;
  }
  await page.getByRole("link", { name: "Show the whole plan" }).click();
  seen.plan = await page.getByRole("region", { name: "Plan" }).innerText();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.goto(`${asked.url}/ui/runs`);
  seen.signedOut = new URL(page.url()).pathname;
  await context.close();
  return seen;
}

async function look(browser, { name: how, ...options }) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const errors = [];
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await signIn(page);
  const barriers = [];
  const wide = [];
  for (const [name, path] of Object.entries(asked.pages)) {
    await page.goto(asked.url + path);
    await page.screenshot({ path: join(asked.out, `${name}-${how}.png`), fullPage: true });
    if (await page.evaluate("document.documentElement.scrollWidth > window.innerWidth")) wide.push(`${name} ${how}`);
    await page.evaluate(AXE);
    const { violations } = await page.evaluate("axe.run({ resultTypes: ['violations'] })");
    for (const { id, impact, nodes } of violations) {
      barriers.push({ page: `${name} ${how}`, id, impact, where: nodes.slice(0, 3).map((node) => node.html) });
    }
  }
  // The first thing that the keyboard reaches leads past the head of the page, and is seen.
  await page.goto(`${asked.url}/ui/runs`);
  await page.keyboard.press("Tab");
  const skip = page.locator(":focus");
  const first = { text: await skip.innerText(), seen: (await skip.boundingBox()).x >= 0 };
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  first.then = await page.locator(":focus").getAttribute("name");
  await context.close();
  return { barriers, wide, errors, first };
}

const browser = await chromium.launch({
  executablePath: asked.chromium,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"],
});
try {
  const result = { journey: await journey(browser), looks: {} };
  for (const options of LOOKS) result.looks[options.name] = await look(browser, options);
  console.log(JSON.stringify(result));
} finally {
  await browser.close();
}
