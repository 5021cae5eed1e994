//! What a book of tokens has to hold to.

use super::*;
use tempfile::TempDir;

fn open() -> (TempDir, Catalog, Tokens) {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(folder.path()).unwrap();
    let tokens = Tokens::open(&catalog, 8).unwrap();
    (folder, catalog, tokens)
}

fn wanted(name: &str, role: Role) -> Wanted {
    Wanted {
        name: name.to_owned(),
        role,
        expires_unix_ns: None,
    }
}

fn create(tokens: &Tokens, catalog: &Catalog, name: &str, role: Role) -> NewToken {
    tokens
        .create(catalog, &Caller::local(), &wanted(name, role), "")
        .unwrap()
}

#[test]
fn what_a_presented_token_is_worth() {
    let (_folder, catalog, tokens) = open();
    let now = crate::clock::unix_ns();
    let good = create(&tokens, &catalog, "good", Role::Viewer);
    let other = create(&tokens, &catalog, "other", Role::Admin);
    let revoked = create(&tokens, &catalog, "revoked", Role::Viewer);
    tokens
        .revoke(&catalog, &Caller::local(), &revoked.info.id, "", false)
        .unwrap();
    let until_soon = Wanted {
        expires_unix_ns: Some(now + 1_000_000_000_000),
        ..wanted("brief", Role::Viewer)
    };
    let brief = tokens
        .create(&catalog, &Caller::local(), &until_soon, "")
        .unwrap();
    let secret_of_other = other.token.rsplit('_').next().unwrap();
    let mixed = format!("ht_{}_{secret_of_other}", good.info.id);
    let past = |name: &str, revoked| {
        Err(Worthless::Past {
            name: name.to_owned(),
            revoked,
        })
    };
    let found = |name: &str| Ok(name.to_owned());
    for (text, now, expected) in [
        (good.token.as_str(), now, found("good")),
        (&other.token, now, found("other")),
        (&brief.token, now, found("brief")),
        (&brief.token, now + 2_000_000_000_000, past("brief", false)),
        (&revoked.token, now, past("revoked", true)),
        (&mixed, now, Err(Worthless::Guess)),
        (&good.token[..83], now, Err(Worthless::Guess)),
        ("", now, Err(Worthless::Guess)),
    ] {
        let got = tokens.check(text, now).map(|found| found.caller.name);
        assert_eq!(got, expected, "{text}");
    }
}

#[test]
fn a_hundred_thousand_guesses_give_no_hit() {
    let (_folder, catalog, tokens) = open();
    let real = create(&tokens, &catalog, "real", Role::Admin);
    let now = crate::clock::unix_ns();
    for number in 0..100_000_u64 {
        // Half of them know the public part of a real token.
        let id = if number % 2 == 0 {
            real.info.id.clone()
        } else {
            super::super::token::random_hex::<8>().unwrap()
        };
        let secret = super::super::token::random_hex::<32>().unwrap();
        let guess = format!("ht_{id}_{secret}");
        assert_eq!(tokens.check(&guess, now), Err(Worthless::Guess), "{guess}");
    }
    assert!(tokens.check(&real.token, now).is_ok());
}

#[test]
fn tokens_uses_and_revocations_last() {
    let (folder, catalog, tokens) = open();
    let now = crate::clock::unix_ns();
    let kept = create(&tokens, &catalog, "kept", Role::Admin);
    let gone = create(&tokens, &catalog, "gone", Role::Viewer);
    assert!(tokens.check(&kept.token, now).is_ok());
    tokens
        .revoke(&catalog, &Caller::local(), &gone.info.id, "left", false)
        .unwrap();
    let lent = tokens.lend("own collector", Role::Collector).unwrap();
    assert!(tokens.check(&lent, now).is_ok());
    tokens.save_uses(&catalog).unwrap();
    let before = tokens.list();
    drop((catalog, tokens));

    let catalog = Catalog::open(folder.path()).unwrap();
    let tokens = Tokens::open(&catalog, 8).unwrap();
    assert_eq!(tokens.list(), before);
    let used = before.iter().find(|info| info.name == "kept").unwrap();
    assert_eq!(used.last_used_unix_ns, Some(now));
    assert!(tokens.check(&kept.token, now).is_ok());
    assert!(tokens.check(&gone.token, now).is_err());
    assert_eq!(tokens.check(&lent, now), Err(Worthless::Guess));
    let told: Vec<_> = catalog
        .audit_lines(9)
        .unwrap()
        .into_iter()
        .map(|line| (line.what, line.why))
        .collect();
    assert_eq!(told[0], ("token revoked".to_owned(), "left".to_owned()));
    assert_eq!(told.len(), 3, "{told:?}");
}

#[test]
fn the_last_admin_stays_unless_it_is_meant() {
    let (_folder, catalog, tokens) = open();
    let local = Caller::local();
    let first = create(&tokens, &catalog, "first", Role::Admin).info.id;
    let refused = tokens.revoke(&catalog, &local, &first, "", false).unwrap_err();
    assert!(
        matches!(&refused, TokenError::Conflict(why) if why.contains("last admin")),
        "{refused}"
    );
    create(&tokens, &catalog, "second", Role::Admin);
    assert!(tokens.revoke(&catalog, &local, &first, "", false).is_ok());
    // Again changes nothing and is no error.
    assert!(tokens.revoke(&catalog, &local, &first, "", false).is_ok());
    let second = tokens
        .list()
        .iter()
        .find(|info| info.name == "second")
        .unwrap()
        .id
        .clone();
    assert!(tokens.revoke(&catalog, &local, &second, "", true).is_ok());
    assert!(tokens.any(), "a hub whose tokens were all revoked stays closed");
    assert_eq!(
        tokens.revoke(&catalog, &local, "nothing", "", true),
        Err(TokenError::Unknown("nothing".to_owned()))
    );
}

#[test]
fn names_are_taken_while_they_hold_and_room_is_made_of_the_dead() {
    let (_folder, catalog, tokens) = open();
    let local = Caller::local();
    for number in 0..8 {
        create(&tokens, &catalog, &number.to_string(), Role::Admin);
    }
    let full = tokens
        .create(&catalog, &local, &wanted("8", Role::Viewer), "")
        .unwrap_err();
    assert!(full.to_string().contains("limit"), "{full}");
    let dead = tokens.list()[0].clone();
    tokens.revoke(&catalog, &local, &dead.id, "", false).unwrap();
    let taken = tokens
        .create(&catalog, &local, &wanted("0", Role::Viewer), "")
        .unwrap_err();
    assert!(taken.to_string().contains("already"), "{taken}");
    create(&tokens, &catalog, &dead.name, Role::Viewer);
    assert_eq!(tokens.list().len(), 8);
    assert!(tokens.list().iter().all(|info| info.revoked_unix_ns.is_none()));
}

#[test]
fn hostile_tokens_open_nothing() {
    let (_folder, catalog, tokens) = open();
    let real = [
        create(&tokens, &catalog, "one", Role::Admin).token,
        create(&tokens, &catalog, "two", Role::Viewer).token,
    ];
    let now = crate::clock::unix_ns();
    let seeds = real.each_ref().map(|token| token.as_bytes());
    let mut near = 0_u64;
    crate::hostile::attack(&seeds, false, 1, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let is_real = real.iter().any(|token| *token == text);
        near += u64::from(Presented::parse(&text).is_some() && !is_real);
        assert_eq!(tokens.check(&text, now).is_ok(), is_real, "{text:?}");
    });
    assert!(near > 0, "none had even the form of a token");
}
