//! The hub itself: the fleet's policy with its roll-out and history, links, tokens, and who did what.

use super::call::{Failure, Json, call, object};
use super::island::{island, revision, say, set_value, value};
use super::listing::{Kind, Listing, act, frame, load};
use super::overlaps;
use leptos::prelude::AnyView;
use web_sys::Element;

static LISTS: [Listing; 7] = [
    Listing {
        part: "alerts",
        title: "Alerts",
        note: "What fires first, then what nothing is known of. An admin sets who is told: heaptide's docs/alerts.md.",
        tools: "",
        path: "/api/v1/alerts",
        list: "alerts",
        columns: &[
            ("State", "state", Kind::State),
            ("Rule", "rule", Kind::Words),
            ("Service", "service", Kind::Words),
            ("Session", "session", Kind::Session),
            ("Since", "since_unix_ns", Kind::Moment),
            ("Value", "value_words", Kind::Words),
            ("Threshold", "threshold_words", Kind::Words),
            ("No data", "no_data", Kind::Words),
        ],
        action: None,
    },
    Listing {
        part: "rollout",
        title: "Roll-out",
        note: "What each collector has made of the newest revision.",
        tools: "",
        path: "/api/v1/policy/rollout",
        list: "sessions",
        columns: &[
            ("Session", "session", Kind::Session),
            ("Service", "labels.service", Kind::Words),
            ("State", "standing", Kind::State),
            ("At revision", "revision", Kind::Words),
            ("Why", "why", Kind::Words),
        ],
        action: None,
    },
    Listing {
        part: "clocks",
        title: "Clocks",
        note: "The wall clock of each host against the hub's. What two hosts did closer together than both errors has no order.",
        tools: "",
        path: "/api/v1/sessions?state=live",
        list: "",
        columns: &[
            ("Session", "session", Kind::Session),
            ("Host", "signature.host_name", Kind::Words),
            ("Ahead", "clock.words", Kind::Words),
            ("Epoch", "clock.newest.epoch", Kind::Words),
        ],
        action: None,
    },
    Listing {
        part: "history",
        title: "Revisions",
        note: "Going back to one makes a new revision like it.",
        tools: "",
        path: "/api/v1/policy/history",
        list: "",
        columns: &[
            ("Revision", "revision", Kind::Words),
            ("When", "unix_ns", Kind::Moment),
            ("Who", "who", Kind::Words),
            ("Why", "why", Kind::Words),
            ("What became of it", "fate.name", Kind::Words),
        ],
        action: Some(("Go back to it", "POST", "{}", "revision")),
    },
    Listing {
        part: "links",
        title: "Share links",
        note: "All that are open, of any session.",
        tools: "",
        path: "/api/v1/links",
        list: "",
        columns: &[
            ("Made by", "author", Kind::Words),
            ("Session", "session", Kind::Session),
            ("Kind", "kind", Kind::Words),
            ("Ends", "expires_unix_ns", Kind::Moment),
            ("Opened", "opened", Kind::Words),
        ],
        action: Some(("Take back", "DELETE", "/api/v1/links/{}", "id")),
    },
    Listing {
        part: "tokens",
        title: "Tokens",
        note: "Who may do what here. heaptide hub token create makes one.",
        tools: "",
        path: "/api/v1/tokens",
        list: "",
        columns: &[
            ("Name", "name", Kind::Words),
            ("Role", "role", Kind::Words),
            ("Made", "created_unix_ns", Kind::Moment),
            ("Last used", "last_used_unix_ns", Kind::Moment),
            ("Ends", "expires_unix_ns", Kind::Moment),
            ("Revoked", "revoked_unix_ns", Kind::Moment),
        ],
        action: Some(("Revoke", "DELETE", "/api/v1/tokens/{}", "id")),
    },
    Listing {
        part: "audit",
        title: "Who did what",
        note: "Newest first.",
        tools: "",
        path: "/api/v1/audit",
        list: "",
        columns: &[
            ("When", "unix_ns", Kind::Moment),
            ("Who", "who", Kind::Words),
            ("What", "what", Kind::Words),
            ("On", "subject", Kind::Words),
            ("Why", "why", Kind::Words),
        ],
        action: None,
    },
];

/// The document as text: what is wrong with it the hub says, by field.
const EDITOR: &str = "<section class=\"panel\" data-testid=\"fleet-policy\"><div class=\"panel-head\">\
    <h2 class=\"panel-title\">Policy of the fleet</h2><span class=\"muted\">revision <span data-part=\"revision\">\
    </span></span></div><div class=\"panel-body\"><div class=\"field\"><textarea class=\"input mono\" rows=\"14\" spellcheck=\"false\" \
    aria-label=\"The document, as JSON\" data-part=\"document\"></textarea><label class=\"row\"><span>Why</span>\
    <input class=\"input fill\" data-part=\"why\"><button class=\"btn btn-primary\" type=\"button\" data-act=\"apply\" \
    data-testid=\"policy-apply\">Apply</button></label><p class=\"field-hint\" role=\"status\" data-part=\"said\" \
    data-testid=\"policy-said\"></p><p class=\"field-hint\"><a href=\"/api/v1/policy/schema\">What can stand in it</a>. It \
    goes to a few collectors first, and to all when they stay well.</p></div></div></section>";

/// The same for the rules of alerts.
const RULES: &str = "<section class=\"panel\" data-testid=\"alert-rules\"><div class=\"panel-head\">\
    <h2 class=\"panel-title\">Alert rules</h2><span class=\"muted\">revision <span data-part=\"rules-revision\"></span>\
    </span></div><div class=\"panel-body\"><div class=\"field\"><textarea class=\"input mono\" rows=\"10\" spellcheck=\"false\" \
    aria-label=\"The rules, as JSON\" data-part=\"rules\"></textarea><div class=\"row\"><button class=\"btn btn-primary\" type=\"button\" \
    data-act=\"rules\">Apply</button></div><p class=\"field-hint\" role=\"status\" data-part=\"rules-said\"></p>\
    <p class=\"field-hint\">A rule: <code>{\"name\": \"leak\", \"labels\": {\"service\": \"shop\"}, \"figure\": {\"name\": \
    \"live_slope\"}, \"when\": \"above\", \"threshold\": 1048576, \"for_seconds\": 60}</code></p></div></div></section>";

const ALERT_RULES: &str = "/api/v1/alerts/rules";
const POLICY: &str = "/api/v1/policy";

pub(crate) fn hub_page() -> AnyView {
    let frames: Vec<String> = LISTS.iter().map(frame).collect();
    let markup = format!(
        "<div class=\"page page-wide\" data-testid=\"hub\"><div class=\"page-head\"><h1>Hub</h1></div>{}{RULES}{EDITOR}{}{}{}</div>",
        frames[0],
        frames[1..3].concat(),
        frame(&overlaps::OVERLAPS),
        frames[3..].concat()
    );
    let hear = |root: &Element, what: &str, on: &Element| {
        if what == "compare" {
            return overlaps::compare(root);
        }
        let again = root.clone();
        let said = if what == "rules" { "rules-said" } else { "said" };
        let then = move |answer: Result<Json, Failure>| match answer {
            Ok(_) => show(&again),
            Err(failure) => say(&again, said, &failure.sentence),
        };
        let from = revision(root, "revision");
        let why = value(root, "why");
        if what == "rules" {
            let body = object(
                &[],
                &[
                    ("from_revision", &revision(root, "rules-revision")),
                    ("document", &value(root, "rules")),
                ],
            );
            call("POST", ALERT_RULES.to_owned(), Some(body), Box::new(then));
        } else if what == "apply" {
            let body = object(
                &[("why", &why)],
                &[("from_revision", &from), ("document", &value(root, "document"))],
            );
            call("POST", POLICY.to_owned(), Some(body), Box::new(then));
        } else if what == "post" {
            let to = on.get_attribute("data-path").unwrap_or_default();
            let body = object(
                &[("why", &why)],
                &[("from_revision", &from), ("to_revision", &to)],
            );
            call("POST", format!("{POLICY}/revert"), Some(body), Box::new(then));
        } else {
            act(on, Box::new(then));
        }
    };
    let mounted = |root: &Element| {
        show(root);
        overlaps::offer(root);
    };
    island(markup, Box::new(mounted), Box::new(hear))
}

fn show(root: &Element) {
    for list in &LISTS {
        load(root, list, "");
    }
    for (path, revision, said, document) in [
        (POLICY, "revision", "said", "document"),
        (ALERT_RULES, "rules-revision", "rules-said", "rules"),
    ] {
        let again = root.clone();
        let then = move |answer: Result<Json, Failure>| match answer {
            Ok(json) => {
                say(&again, revision, &json.text("revision"));
                say(&again, said, "");
                set_value(&again, document, &json.get("document").pretty());
            }
            Err(failure) => say(&again, said, &failure.sentence),
        };
        call("GET", path.to_owned(), None, Box::new(then));
    }
}
