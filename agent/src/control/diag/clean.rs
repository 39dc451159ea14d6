//! Lines of a configuration file as a stranger may see them: settings without comments, secrets without their value.
//!
//! No secret belongs in these files, and `check` refuses those it knows. This is for the ones it does not.

/// What is left of a file.
pub(super) fn lines(text: &str) -> Vec<String> {
    text.lines().filter_map(line).take(MOST_LINES).collect()
}

fn line(text: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return None;
    }
    let Some((key, value)) = text.split_once('=') else {
        return Some(without_user(text));
    };
    let name = key.to_ascii_lowercase();
    let is_path = name.trim_end().ends_with("_file");
    if !is_path && SECRETS.iter().any(|secret| name.contains(secret)) {
        return Some(format!("{key}= {HIDDEN}"));
    }
    Some(format!("{key}={}", without_user(without_comment(value))))
}

/// What stands before a comment at the end of a line.
fn without_comment(value: &str) -> &str {
    let ends = value.match_indices(" #");
    let before = ends.filter_map(|(at, _)| value.get(..at));
    let mut outside = before.filter(|before| before.matches(['"', '\'']).count() % 2 == 0);
    outside.next().unwrap_or(value).trim_end()
}

/// Hides user and password of every url in a line.
fn without_user(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let end = after
            .find(['/', '"', '\'', ' ', ','])
            .unwrap_or(after.len());
        let (authority, behind) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                shown.push_str(HIDDEN);
                shown.push('@');
                shown.push_str(host);
            }
            None => shown.push_str(authority),
        }
        rest = behind;
    }
    shown.push_str(rest);
    shown
}

const SECRETS: [&str; 4] = ["secret", "password", "passphrase", "token"];
const HIDDEN: &str = "[hidden]";
const MOST_LINES: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_stay_and_comments_go() {
        let text =
            "# a box\n[cloud]\n\nurl = \"https://api.example.org/\" # ours\n  # note\na = \"b #c\"";
        assert_eq!(
            lines(text),
            [
                "[cloud]",
                "url = \"https://api.example.org/\"",
                "a = \"b #c\""
            ]
        );
    }

    #[test]
    fn what_looks_like_a_secret_is_hidden_and_where_it_lies_is_not() {
        let text = "client_secret = \"s3cr3t\"\nProxy_Password='s3cr3t'\naccess.token = \"s3cr3t\"\n\
                    client_secret_file = \"/etc/x\"\n";
        let shown = lines(text);
        assert!(!shown.concat().contains("s3cr3t"), "{shown:?}");
        assert_eq!(shown[3], "client_secret_file = \"/etc/x\"");
    }

    #[test]
    fn a_url_loses_its_user_wherever_it_stands() {
        let text = "proxy = \"http://me:pa@ss@proxy:3128\"\nlist = [\"ftp://u:p@a/b\", 'x://c']";
        assert_eq!(
            lines(text),
            [
                "proxy = \"http://[hidden]@proxy:3128\"",
                "list = [\"ftp://[hidden]@a/b\", 'x://c']"
            ]
        );
    }
}
