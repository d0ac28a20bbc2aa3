//! Answers: what becomes of a visit.

use std::time::Duration;

use tokio::time::timeout;

use crate::outbox::clerk::{Errand, Told};
use crate::outbox::place::{counted, judge};
use crate::outbox::push::keys::PushKeys;
use crate::outbox::subscription::{Channel, Order, Subscription};
use crate::plan::news::forms::limits::{Allowed, Limits};
use crate::plan::news::forms::{Act, BrowserKeys, Form, Malformed, Mistake, Place, Visit, Wanted, Way, Wrong};
use crate::plan::news::notes::{Change, Note, Preferences};
use crate::telemetry::FormEnd;

use super::Scene;

/// Answer with the end that counts; `None` for somebody who only looks.
type Answered = (Note, Option<FormEnd>);

/// Answers somebody who wants to subscribe. Nothing of the answer depends on what is known of the address.
pub(super) fn subscribe(scene: &Scene, limits: &mut Limits, visit: &Visit, now: Duration) -> Answered {
    let Some((media, body)) = &visit.sent else { return (Note::Gone, None) };
    let choices = scene.choices.within(visit.routes.as_ref());
    let (form, keys, choices) = match &visit.place {
        Place::Browser => match Form::of_browser(body) {
            Ok((form, keys)) => (form, Some(keys), choices),
            Err(malformed) => return (Note::Malformed(malformed), Some(FormEnd::Mistake)),
        },
        Place::Subscribe | Place::Confirm(_) | Place::Manage(_) | Place::End(_) => match Form::read(*media, body) {
            Ok(form) => (form, None, choices.by_form()),
            Err(malformed) => return (Note::Malformed(malformed), Some(FormEnd::Mistake)),
        },
    };
    let keys = match keys.as_ref().map(push_keys).transpose() {
        Ok(keys) => keys,
        Err(mistake) => return (Note::Mistake(Box::new(form), mistake), Some(FormEnd::Mistake)),
    };
    let wanted = match choices.check(&form, |way, url| judge(&scene.reach, channel(way), url)) {
        Ok(wanted) => wanted,
        Err(mistake) => return (Note::Mistake(Box::new(form), mistake), Some(FormEnd::Mistake)),
    };
    if scene.status.borrow().error.is_some() {
        return (Note::Busy, Some(FormEnd::Busy));
    }
    let sent = Note::Sent(wanted.way);
    match limits.count(visit.client, &counted(channel(wanted.way), &wanted.address), now) {
        Allowed::Later(wait) => return (Note::Later(wait.as_secs().max(1)), Some(FormEnd::Limit)),
        Allowed::Silently => return (sent, Some(FormEnd::Mailbox)),
        Allowed::Yes => {}
    }
    if !form.trap.is_empty() {
        return (sent, Some(FormEnd::Trap));
    }
    let order = Box::new(order(wanted, visit));
    let errand = match keys {
        Some(keys) => Errand::SubscribeBrowser(order, keys),
        None => Errand::Subscribe(order),
    };
    match scene.clerk.leave(errand) {
        Ok(()) => (sent, Some(FormEnd::Asked)),
        Err(_) => (Note::Busy, Some(FormEnd::Busy)),
    }
}

/// Answers somebody who has a token.
pub(super) async fn by_token(scene: &Scene, visit: &Visit) -> Answered {
    let form = match &visit.sent {
        Some((media, body)) => match Form::read(*media, body) {
            Ok(form) => Some(form),
            Err(malformed) => return (Note::Malformed(malformed), Some(FormEnd::Mistake)),
        },
        None => None,
    };
    match (&visit.place, form) {
        (Place::Subscribe | Place::Browser, _) => (Note::Gone, None),
        (Place::Confirm(token), None) => {
            let look = ask(scene, Errand::LookToConfirm(token.clone())).await;
            told(look.as_ref(), Note::AskConfirm, None)
        }
        (Place::Confirm(token), Some(_)) => match ask(scene, Errand::Confirm(token.clone())).await {
            Some(Told::Confirmed(token)) => (Note::Confirmed(token), Some(FormEnd::Confirmed)),
            other => told(other.as_ref(), Note::Gone, Some(FormEnd::Link)),
        },
        // Mail programs and scanners follow links: nothing happens, and nothing is looked up.
        (Place::End(_), None) => (Note::AskEnd, None),
        (Place::End(token), Some(_)) => match ask(scene, Errand::End(token.clone())).await {
            Some(Told::Done) => (Note::Ended, Some(FormEnd::Ended)),
            // A provider tries again, or is content that nothing is sent.
            Some(Told::Gone | Told::Confirmed(_) | Told::Found(_)) => (Note::Ended, Some(FormEnd::Link)),
            None => (Note::Busy, Some(FormEnd::Busy)),
        },
        (Place::Manage(token), form) => preferences(scene, visit, token, form).await,
    }
}

/// Shows and changes the preferences of a subscription.
async fn preferences(scene: &Scene, visit: &Visit, token: &str, form: Option<Form>) -> Answered {
    let found = match ask(scene, Errand::Look(token.to_owned())).await {
        Some(Told::Found(found)) => *found,
        other => return told(other.as_ref(), Note::Gone, Some(FormEnd::Link)),
    };
    let Some(form) = form else { return (shown(&found, Change::None), None) };
    let Some(act) = Act::find(&form.act) else {
        return (Note::Malformed(Malformed(format!("act={}", form.act))), Some(FormEnd::Mistake));
    };
    if act == Act::Erase {
        let erased = ask(scene, Errand::Erase(token.to_owned())).await;
        return told(erased.as_ref(), Note::Erased, Some(FormEnd::Erased));
    }
    let choices = scene.choices.within(own_routes(&found));
    let wanted = match choices.preferences(&form, way(found.order.channel), found.order.address.clone()) {
        Ok(wanted) => wanted,
        Err(mistake) => return (shown(&found, Change::Refused(mistake)), Some(FormEnd::Mistake)),
    };
    let order = order(wanted, visit);
    match ask(scene, Errand::Change(token.to_owned(), Box::new(order))).await {
        Some(Told::Found(changed)) => (shown(&changed, Change::Saved), Some(FormEnd::Changed)),
        other => told(other.as_ref(), Note::Gone, Some(FormEnd::Link)),
    }
}

/// Asks the outbox; `None` if it is busy.
async fn ask(scene: &Scene, errand: Errand) -> Option<Told> {
    if scene.status.borrow().error.is_some() {
        return None;
    }
    timeout(LONGEST_ERRAND, scene.clerk.ask(errand)).await.ok()?.ok()
}

/// Returns the note for what the outbox has told.
fn told(told: Option<&Told>, done: Note, end: Option<FormEnd>) -> Answered {
    match told {
        Some(Told::Done) => (done, end),
        Some(Told::Gone | Told::Confirmed(_) | Told::Found(_)) => (Note::Gone, Some(FormEnd::Link)),
        None => (Note::Busy, Some(FormEnd::Busy)),
    }
}

fn shown(found: &Subscription, change: Change) -> Note {
    let Order { channel, address, language, services, regions, kinds, pace, .. } = found.order.clone();
    let wanted = Wanted { way: way(channel), address, services, regions, kinds, language, pace };
    Note::Preferences(Box::new(Preferences { wanted, since: found.created, change }))
}

fn order(wanted: Wanted, visit: &Visit) -> Order {
    let Wanted { way, address, services, regions, kinds, language, pace } = wanted;
    let (channel, routes) = (channel(way), visit.routes.clone().unwrap_or_default());
    Order { channel, address, language, services, regions, kinds, routes, pace }
}

fn channel(way: Way) -> Channel {
    match way {
        Way::Mail => Channel::Mail,
        Way::Webhook => Channel::Webhook,
        Way::Slack => Channel::Slack,
        Way::Discord => Channel::Discord,
        Way::Teams => Channel::Teams,
        Way::Ntfy => Channel::Ntfy,
        Way::Push => Channel::Push,
    }
}

/// Reads the keys of a browser.
fn push_keys(keys: &BrowserKeys) -> Result<PushKeys, Mistake> {
    let read = PushKeys::of_browser(&keys.p256dh, &keys.auth);
    read.ok_or_else(|| Mistake { field: "keys", wrong: Wrong::NoKeys, found: String::new() })
}

/// Returns the way by which a channel was subscribed.
fn way(channel: Channel) -> Way {
    match channel {
        Channel::Mail => Way::Mail,
        Channel::Webhook => Way::Webhook,
        Channel::Push => Way::Push,
        Channel::Slack => Way::Slack,
        Channel::Discord => Way::Discord,
        Channel::Teams => Way::Teams,
        Channel::Ntfy => Way::Ntfy,
    }
}

/// Returns the routes that a subscription is bound to.
fn own_routes(found: &Subscription) -> Option<&std::collections::BTreeSet<String>> {
    Some(&found.order.routes).filter(|routes| !routes.is_empty())
}

/// Time that the outbox may take for an errand. A worker waits a little longer.
const LONGEST_ERRAND: Duration = Duration::from_secs(10);
