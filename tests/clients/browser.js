// Opens a page in Chromium, light and dark, and prints what it saw as JSON:
// node browser.js PLAYWRIGHT CHROMIUM URL SCREENSHOT_FOLDER
const [playwright, executablePath, url, folder] = process.argv.slice(2);
const { chromium } = require(playwright);

async function look(browser, colorScheme) {
  const page = await browser.newPage({ colorScheme, viewport: { width: 1280, height: 900 } });
  const errors = [];
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text());
  });
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('dialog', (dialog) => {
    errors.push(`a dialog opened: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on('requestfailed', (request) => errors.push(`${request.url()}: ${request.failure().errorText}`));
  page.on('response', (response) => {
    if (response.status() >= 400) errors.push(`${response.url()}: ${response.status()}`);
  });
  page.on('request', (request) => {
    if (new URL(request.url()).host !== new URL(url).host && !request.url().startsWith('data:')) {
      errors.push(`asks another host: ${request.url()}`);
    }
  });
  const response = await page.goto(url, { waitUntil: 'load' });
  await page.waitForTimeout(2500);
  await page.screenshot({ path: `${folder}/dashboard-${colorScheme}.png`, fullPage: true });
  const seen = await page.evaluate(() => ({
    svgs: document.querySelectorAll('svg').length,
    scripts_by_name: [...document.querySelectorAll('script')].filter((s) => s.text === 'alert(1)').length,
    text: document.body.innerText,
  }));
  const counted = errors.slice();
  await page.close();
  return { scheme: colorScheme, status: response.status(), errors: counted, ...seen };
}

(async () => {
  const browser = await chromium.launch({
    executablePath,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
  const seen = [await look(browser, 'light'), await look(browser, 'dark')];
  await browser.close();
  console.log(JSON.stringify(seen));
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
