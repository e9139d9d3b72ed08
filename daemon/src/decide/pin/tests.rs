//! Pins by table and at random: what we did not sign is never believed.

use proptest::prelude::*;

use super::*;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OLD: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
const NOW: u64 = 1_800_000_000;
const TTL: u64 = 43_200;

fn pins(keys: &str, regions: &[&str]) -> Pins {
    let names = Regions::new(regions.iter().map(|name| (*name).to_owned()).collect()).expect("few");
    let keys = PinKeys::parse(keys.as_bytes()).expect("keys");
    Pins::new("tg_home".to_owned(), Duration::from_secs(TTL), keys, names)
}

fn ours() -> Pins {
    pins(KEY, &["eu-west-1", "us.east.1"])
}

fn region(index: usize) -> RegionId {
    RegionId::new(index).expect("small")
}

fn head(cookies: &[&str]) -> HeaderMap {
    let fields =
        cookies.iter().map(|text| (http::header::COOKIE, HeaderValue::from_str(text).expect("field")));
    let mut headers = HeaderMap::new();
    fields.for_each(|(name, value)| _ = headers.append(name, value));
    headers
}

/// `name=value` of a `Set-Cookie` field.
fn written(pins: &Pins, region: RegionId) -> String {
    let (_, value) = pins.write(region, NOW, true).expect("region");
    value.to_str().expect("text").split(';').next().expect("pair").to_owned()
}

#[test]
fn a_pin_is_a_cookie_for_the_whole_site_out_of_scripts_reach() {
    let (name, value) = ours().write(region(1), NOW, true).expect("region");
    let text = value.to_str().expect("text");
    let (pin, attributes) = text.split_once("; ").expect("attributes");
    assert_eq!(name, http::header::SET_COOKIE);
    assert_eq!(attributes, "Path=/; Max-Age=43200; Secure; HttpOnly; SameSite=Lax");
    assert!(pin.starts_with("tg_home=1.us.east.1.1800043200."), "{pin}");
    let cleartext = ours().write(region(1), NOW, false).expect("region").1;
    assert!(!cleartext.to_str().expect("text").contains("Secure"));
    assert!(ours().write(region(2), NOW, true).is_none());
}

#[test]
fn a_pin_is_valid_until_its_time_is_over_and_renewed_from_half_of_it() {
    let (pins, head) = (ours(), head(&[&written(&ours(), region(1))]));
    let cases = [
        (NOW, Pin::Valid { region: region(1), renew: false }),
        (NOW + TTL / 2 - 1, Pin::Valid { region: region(1), renew: false }),
        (NOW + TTL / 2, Pin::Valid { region: region(1), renew: true }),
        (NOW + TTL - 1, Pin::Valid { region: region(1), renew: true }),
        (NOW + TTL, Pin::Ignored(PinFault::Expired)),
        (u64::MAX, Pin::Ignored(PinFault::Expired)),
    ];
    for (now, expected) in cases {
        assert_eq!(pins.read(&head, now), expected, "{now}");
    }
}

#[test]
fn the_previous_key_is_believed_and_replaced_and_an_older_one_is_not() {
    let head = head(&[&written(&pins(OLD, &["eu-west-1"]), region(0))]);
    let both = pins(&format!("{KEY}\n{OLD}\n"), &["eu-west-1"]);
    assert_eq!(both.read(&head, NOW), Pin::Valid { region: region(0), renew: true });
    assert_eq!(pins(KEY, &["eu-west-1"]).read(&head, NOW), Pin::Ignored(PinFault::Forged));
}

#[test]
fn a_region_that_is_gone_pins_nobody() {
    let head = head(&[&written(&ours(), region(0))]);
    assert_eq!(pins(KEY, &["mars"]).read(&head, NOW), Pin::Ignored(PinFault::Unknown));
}

#[test]
fn the_cookie_is_found_among_others() {
    let pin = written(&ours(), region(1));
    let value = pin.strip_prefix("tg_home=").expect("name");
    let valid = Pin::Valid { region: region(1), renew: false };
    let forged = "tg_home=1.eu-west-1.1800043200.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let cases: Vec<(Vec<String>, Pin)> = vec![
        (vec![format!("a=b; {pin}; c=d")], valid),
        (vec![format!("a=b;{pin};c=d")], valid),
        (vec!["a=b".into(), pin.clone()], valid),
        (vec![format!("tg_home=\"{value}\"")], valid),
        (vec![format!("{forged}; {pin}")], valid),
        (vec![forged.into()], Pin::Ignored(PinFault::Forged)),
        (vec![format!("xtg_home={value}")], Pin::Absent),
        (vec![format!("tg_home2={value}")], Pin::Absent),
        (vec!["tg_home=".into()], Pin::Ignored(PinFault::Forged)),
        (vec![format!("{}{pin}", format!("{forged}; ").repeat(8))], Pin::Ignored(PinFault::Forged)),
        (vec![], Pin::Absent),
    ];
    for (cookies, expected) in cases {
        let cookies: Vec<&str> = cookies.iter().map(String::as_str).collect();
        assert_eq!(ours().read(&head(&cookies), NOW), expected, "{cookies:?}");
    }
}

#[test]
fn a_new_pin_is_due_without_a_valid_one_or_for_another_home() {
    let valid = |renew| Pin::Valid { region: region(0), renew };
    assert!(
        !valid(false).is_due(region(0)) && valid(true).is_due(region(0)) && valid(false).is_due(region(1))
    );
    assert!(Pin::Absent.is_due(region(0)) && Pin::Ignored(PinFault::Expired).is_due(region(0)));
}

#[test]
fn key_files_are_read_as_hexadecimal_base64_or_text() {
    let bytes: Vec<u8> = (0..32).collect();
    let standard = base64::engine::general_purpose::STANDARD.encode(&bytes);
    let texts =
        [KEY.to_owned(), KEY.to_uppercase(), format!("\n {standard} \r\n"), standard.replace('=', "")];
    let head = head(&[&written(&ours(), region(0))]);
    for text in texts {
        let read = pins(&text, &["eu-west-1"]).read(&head, NOW);
        assert_eq!(read.region(), Some(region(0)), "{text:?}");
    }
    assert!(PinKeys::parse("correct horse battery staple, and more".as_bytes()).is_ok());
    assert!(PinKeys::parse(&[0xff; 32]).is_ok());
}

#[test]
fn faulty_key_files_say_which_line_and_what_to_do() {
    let fault = |file: &str| PinKeys::parse(file.as_bytes()).expect_err("faulty");
    assert_eq!(fault(""), KeyFault::Empty);
    assert_eq!(fault("\n \n"), KeyFault::Empty);
    assert_eq!(fault("0011223344556677"), KeyFault::Short { line: 1, bytes: 8 });
    assert_eq!(fault("hunter2"), KeyFault::Short { line: 1, bytes: 7 });
    assert_eq!(fault(&format!("{KEY}\n\nhunter2")), KeyFault::Short { line: 3, bytes: 7 });
    assert_eq!(fault(&format!("{KEY}\n{OLD}\n{KEY}")), KeyFault::TooMany { line: 3 });
    assert_eq!(fault(&"a".repeat(5_000)), KeyFault::TooLarge);
    assert!(!format!("{:?}", PinKeys::parse(KEY.as_bytes()).expect("key")).contains("0001"));
}

proptest! {
    #[test]
    fn a_changed_pin_is_never_believed(at in 0_usize..80, byte in 0x21_u8..0x7f) {
        let mut pin = written(&ours(), region(1)).into_bytes();
        let at = "tg_home=".len() + at % (pin.len() - "tg_home=".len());
        prop_assume!(pin[at] != byte && byte != b';' && byte != b'"');
        pin[at] = byte;
        let text = String::from_utf8(pin).expect("ASCII");
        prop_assert_eq!(ours().read(&head(&[&text]), NOW), Pin::Ignored(PinFault::Forged), "{}", text);
    }

    #[test]
    fn anything_at_all_is_no_pin(bytes in prop::collection::vec(0x20_u8..0x7f, 0..200)) {
        let text = format!("tg_home={}", String::from_utf8(bytes).expect("ASCII"));
        prop_assert_eq!(ours().read(&head(&[&text]), NOW).region(), None);
    }
}
