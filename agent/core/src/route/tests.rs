use super::*;

const CHEM: DeviceNo = DeviceNo(1);
const CT: DeviceNo = DeviceNo(2);
const V6: DeviceNo = DeviceNo(3);

fn entry(no: DeviceNo, name: &str, url: &str, aliases: &[&str]) -> Entry {
    let address: Address = url.parse().unwrap();
    Entry {
        no,
        name: name.to_owned(),
        dial: address.host_port().cloned(),
        address,
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
    }
}

fn devices() -> Vec<Entry> {
    vec![
        entry(
            CHEM,
            "chem",
            "mllp://10.0.0.7:2575",
            &["lab 1", "mllp://chem.lab:2575?x"],
        ),
        entry(
            CT,
            "ct",
            "dicom://10.0.0.8:11112/CT1",
            &["tcp://10.0.0.8:4000"],
        ),
        entry(V6, "v6", "mllp://[fd00::7]:2575/", &[]),
    ]
}

fn strict() -> Table {
    Table::new(devices(), Unmapped::Refuse).unwrap()
}

fn lenient() -> Table {
    let networks = [
        "10.0.0.0/8",
        "192.168.1.0/24",
        "fd00::/8",
        "0.0.0.0/0",
        "::/0",
    ];
    let parsed = |count| {
        networks
            .iter()
            .take(count)
            .map(|text| text.parse().unwrap())
            .collect()
    };
    Table::new(devices(), Unmapped::Allow(parsed(3))).unwrap()
}

fn open_to_all() -> Table {
    let networks = ["0.0.0.0/0", "::/0"].map(|text| text.parse().unwrap());
    Table::new(devices(), Unmapped::Allow(networks.to_vec())).unwrap()
}

#[test]
fn a_device_is_found_by_url_name_or_alias() {
    for (remote, expected) in [
        ("mllp://10.0.0.7:2575", CHEM),
        ("MLLP://10.0.0.7:2575/any?encoding=latin1", CHEM),
        ("mllp://user:pw@10.0.0.7:2575", CHEM),
        ("mllp://[::ffff:10.0.0.7]:2575", CHEM),
        ("device://chem", CHEM),
        ("device://CHEM", CHEM),
        ("lab 1", CHEM),
        ("mllp://Chem.Lab:2575", CHEM),
        ("mllp://chem.lab:2575?x", CHEM),
        ("mllp://chem.lab:2575?encoding=latin1", CHEM),
        ("dicom://10.0.0.8:11112/CT1", CT),
        ("dicom://CT1@10.0.0.8:11112", CT),
        ("tcp://10.0.0.8:4000", CT),
        ("mllp://[FD00:0::7]:2575", V6),
    ] {
        assert_eq!(strict().resolve(remote), Route::Found(expected), "{remote}");
    }
}

#[test]
fn the_agent_itself_is_a_destination() {
    for remote in ["device://self", "device://SELF/", "device://self?x=1"] {
        assert_eq!(strict().resolve(remote), Route::Myself, "{remote}");
    }
}

#[test]
fn what_is_near_a_mapped_device_is_not_it() {
    for remote in [
        "mllp://10.0.0.7:2576",
        "mllps://10.0.0.7:2575",
        "mllp://chem:2575",
        "dicom://10.0.0.8:11112",
        "dicom://10.0.0.8:11112/ct1",
        "dicom://10.0.0.8/CT1",
        "tcp://10.0.0.8:4000?x",
        "tcp://10.0.0.8:4000/",
        "Lab 1",
        "lab 1 ",
        "chem",
        "device://chem2",
        "10.0.0.7",
    ] {
        assert!(
            matches!(strict().resolve(remote), Route::Refused(_)),
            "{remote}"
        );
    }
}

#[test]
fn a_refusal_says_what_to_do() {
    for (remote, sentence) in [
        (
            "mllp://10.0.0.9:2575?encoding=x",
            "no device is mapped to mllp://10.0.0.9:2575; add a file to devices.d with this url, or correct Device.url",
        ),
        (
            "device://hematology",
            "no device is named hematology; add a file to devices.d with this name, or correct Device.url",
        ),
        (
            "",
            "the push names no device; set Device.url, for example to mllp://10.0.0.7:2575",
        ),
        (
            "10.0.0.7",
            "no device is mapped to 10.0.0.7, and it cannot be read as an address: it has no scheme; write it like mllp://10.0.0.7:2575; correct Device.url, or add 10.0.0.7 to the aliases of a file in devices.d",
        ),
    ] {
        let Route::Refused(refusal) = strict().resolve(remote) else {
            panic!("{remote} was found")
        };
        assert_eq!(refusal.to_string(), sentence);
    }
}

#[test]
fn a_refusal_repeats_neither_user_info_nor_query_nor_control_characters() {
    for remote in [
        "mllp://u:hunter2@10.0.0.9:1?k=hunter2",
        "x://u:hunter2@h?hunter2",
        "a:hunter2@b",
        "h\n\u{1b}[2J#hunter2",
    ] {
        let Route::Refused(refusal) = strict().resolve(remote) else {
            panic!("{remote} was found")
        };
        let sentence = refusal.to_string();
        assert!(
            !sentence.contains("hunter2") && !sentence.contains(char::is_control),
            "{sentence}"
        );
    }
    let Route::Refused(refusal) = strict().resolve(&"ü".repeat(100_000)) else {
        panic!("found")
    };
    assert!(refusal.to_string().len() < 1000);
}

#[test]
fn an_unmapped_hl7_address_passes_only_inside_the_allowed_networks() {
    for (remote, expected) in [
        ("mllp://10.9.9.9:2575", "mllp://10.9.9.9:2575"),
        ("mllp://192.168.1.4:1?encoding=x", "mllp://192.168.1.4:1"),
        ("mllp://[fd00::9]:2575", "mllp://[fd00::9]:2575"),
        ("mllps://10.9.9.9:2575", "mllps://10.9.9.9:2575"),
        ("mllp://[::ffff:10.9.9.9]:2575", "mllp://10.9.9.9:2575"),
    ] {
        let Route::Allowed(allowed) = lenient().resolve(remote) else {
            panic!("{remote} refused")
        };
        assert_eq!(allowed.to_string(), expected);
    }
    for (remote, word) in [
        ("mllp://192.168.2.4:2575", "allow_networks"),
        ("mllp://8.8.8.8:2575", "allow_networks"),
        ("mllp://lab.example.org:2575", "host name"),
        ("dicom://10.9.9.9/CT9", "only mllp"),
        ("astm+serial:///dev/ttyS0", "only mllp"),
        ("device://nobody", "no device is named"),
        ("10.9.9.9:2575", "no scheme"),
    ] {
        let Route::Refused(refusal) = lenient().resolve(remote) else {
            panic!("{remote} passed")
        };
        assert!(refusal.to_string().contains(word), "{remote}: {refusal}");
    }
}

#[test]
fn a_mapped_device_is_found_also_where_unmapped_ones_are_allowed() {
    assert_eq!(
        lenient().resolve("mllp://10.0.0.7:2575"),
        Route::Found(CHEM)
    );
    assert_eq!(lenient().resolve("device://self"), Route::Myself);
}

#[test]
fn no_network_list_opens_the_machine_itself_or_its_link() {
    for host in [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[fe80::1]",
        "[ff02::1]",
    ] {
        let route = open_to_all().resolve(&format!("mllp://{host}:2575"));
        assert!(
            matches!(route, Route::Refused(Refusal::Forbidden { .. })),
            "{host}: {route:?}"
        );
    }
    for host in ["localhost", "2130706433", "0x7f.1", "127.1", "0177.0.0.1"] {
        let route = open_to_all().resolve(&format!("mllp://{host}:2575"));
        assert!(matches!(route, Route::Refused(_)), "{host}: {route:?}");
    }
}

#[test]
fn two_devices_cannot_claim_the_same_thing() {
    for (url, name, aliases, claim) in [
        (
            "mllp://10.0.0.7:2575?a",
            "b",
            &[][..],
            "mllp://10.0.0.7:2575",
        ),
        ("mllp://10.0.0.1:1", "chem", &[], "device://chem"),
        ("mllp://10.0.0.1:1", "self", &[], "device://self"),
        ("mllp://10.0.0.1:1", "b", &["lab 1"], "lab 1"),
        (
            "mllp://10.0.0.1:1",
            "b",
            &["mllp://CHEM.lab:2575"],
            "mllp://chem.lab:2575",
        ),
        (
            "mllp://10.0.0.1:1",
            "b",
            &["mllp://10.0.0.7:2575/"],
            "mllp://10.0.0.7:2575",
        ),
        ("mllp://10.0.0.1:1", "b", &["device://ct"], "device://ct"),
        (
            "mllp://10.0.0.1:1",
            "b",
            &["device://self"],
            "device://self",
        ),
    ] {
        let mut entries = devices();
        entries.push(entry(DeviceNo(9), name, url, aliases));
        let clash = Table::new(entries, Unmapped::Refuse).unwrap_err();
        assert_eq!((clash.claim.as_str(), clash.second), (claim, DeviceNo(9)));
    }
}

#[test]
fn a_device_may_repeat_itself() {
    let url = "mllp://10.0.0.1:1";
    let device = entry(CHEM, "a", url, &[url, "device://a", "x", "x"]);
    assert!(Table::new(vec![device], Unmapped::Refuse).is_ok());
}

#[test]
fn a_ping_goes_to_the_port_of_a_mapped_device_and_nowhere_else() {
    let mut entries = devices();
    if let Some(first) = entries.first_mut() {
        first.dial = Some("192.168.5.5:6661".parse().unwrap());
    }
    entries.push(entry(DeviceNo(9), "second", "mllp://10.0.0.8:9", &[]));
    entries.reverse();
    let table = Table::new(
        entries,
        Unmapped::Allow(vec!["10.0.0.0/8".parse().unwrap()]),
    )
    .unwrap();
    for (host, expected) in [
        ("10.0.0.7", Some((CHEM, "192.168.5.5:6661"))),
        ("192.168.5.5", Some((CHEM, "192.168.5.5:6661"))),
        ("device://chem", Some((CHEM, "192.168.5.5:6661"))),
        ("mllp://chem.lab:2575", Some((CHEM, "192.168.5.5:6661"))),
        ("lab 1", Some((CHEM, "192.168.5.5:6661"))),
        ("10.0.0.8", Some((CT, "10.0.0.8:11112"))),
        ("fd00::7", Some((V6, "[fd00::7]:2575"))),
        ("[fd00::7]", Some((V6, "[fd00::7]:2575"))),
        ("10.0.0.9", None),
        ("mllp://10.0.0.9:2575", None),
        ("device://self", None),
        ("127.0.0.1", None),
        ("localhost", None),
        ("", None),
    ] {
        let got = table.host(host).map(|to| (to.device, to.dial.to_string()));
        assert_eq!(
            got,
            expected.map(|(no, dial)| (no, dial.to_owned())),
            "{host}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_destination_or_a_refusal_that_can_be_printed(remote in ".{0,80}") {
        for text in [remote.clone(), format!("mllp://{remote}"), format!("dicom://{remote}")] {
            if let Route::Refused(refusal) = open_to_all().resolve(&text) {
                proptest::prop_assert!(!refusal.to_string().contains(char::is_control));
            }
            if let Ok(address) = text.parse::<Address>() {
                proptest::prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
            }
        }
    }
}
