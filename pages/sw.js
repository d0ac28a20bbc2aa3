// Shows the messages of this site, and opens the page of the incident.
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("push", event => {
  let told = {};
  try { told = event.data.json(); } catch {}
  // A browser takes the right away from a site that shows nothing.
  const { title = "", body, tag = "", lang = "", url } = told;
  const timestamp = Date.parse(told.at) || Date.now();
  event.waitUntil(self.registration.showNotification(title, { body, tag, lang, timestamp, renotify: !!tag, data: { url } }));
});
self.addEventListener("notificationclick", event => {
  event.notification.close();
  const url = event.notification.data?.url;
  if (url) event.waitUntil(self.clients.openWindow(url));
});
