//! Examples of how to use a new key. No example contains the key: each one reads an environment
//! variable or asks for the key, so that the key is in no file and in no shell's history.

/// The address in the files of the examples, which stands for the API's address.
const PLACEHOLDER: &str = "https://api.example.com";

/// Reads the key into an environment variable.
pub(crate) const VARIABLE: &str = include_str!("../../assets/snippets/variable.sh");

/// The examples for one tool or language.
pub(crate) struct Tab {
    /// An HTML ID.
    pub(crate) id: &'static str,
    pub(crate) label: &'static str,
    pub(crate) steps: Vec<Step>,
    pub(crate) note: &'static str,
}

/// A text to paste.
pub(crate) struct Step {
    /// An HTML ID.
    pub(crate) id: String,
    /// The name of the text, for its button.
    pub(crate) name: String,
    /// Where to paste the text.
    pub(crate) place: &'static str,
    pub(crate) text: String,
}

/// The text of a file in `assets/snippets/`.
macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../assets/snippets/", $name))
    };
}

/// The address to replace in requests.
const OTHER_PATH: &str = "Every key can call whoami. After that, call an address of your own API.";

/// The examples, for the API with the address `api`.
pub(crate) fn tabs(api: &str) -> Vec<Tab> {
    let tab = |id, label, steps: &[(&'static str, &str)], note| -> Tab {
        let steps = (1..).zip(steps).map(|(number, (place, text))| Step {
            id: format!("{id}-{number}"),
            name: format!("text {number} for {label}"),
            place,
            text: text.trim_end().replace(PLACEHOLDER, api.trim_end_matches('/')),
        });
        Tab { id, label, steps: steps.collect(), note }
    };
    vec![
        tab("curl", "curl", &[("Run this in bash or zsh:", file!("curl.sh"))], OTHER_PATH),
        tab(
            "python",
            "Python",
            &[("Save this as whoami.py, and run python3 whoami.py:", file!("whoami.py"))],
            OTHER_PATH,
        ),
        tab(
            "node",
            "Node.js",
            &[(
                "Save this as whoami.mjs, and run node whoami.mjs (Node.js 18 or later):",
                file!("whoami.mjs"),
            )],
            OTHER_PATH,
        ),
        tab("go", "Go", &[("Save this as main.go, and run go run main.go:", file!("main.go"))], OTHER_PATH),
        tab(
            "rust",
            "Rust",
            &[
                ("Create a project:", file!("cargo.sh")),
                ("Save this as src/main.rs, and run cargo run:", file!("main.rs")),
            ],
            OTHER_PATH,
        ),
        tab(
            "github",
            "GitHub Actions",
            &[
                (
                    "Run this in your repository, and paste the key when the command asks for it:",
                    file!("github-secret.sh"),
                ),
                ("Save this as .github/workflows/whoami.yaml:", file!("workflow.yaml")),
            ],
            OTHER_PATH,
        ),
        tab(
            "aws",
            "AWS Secrets Manager",
            &[
                ("Store the key. The command reads it from standard input:", file!("create-secret.sh")),
                ("Read the key where a program starts:", file!("get-secret.sh")),
            ],
            "After a rotation, use put-secret-value --secret-id instead of create-secret --name.",
        ),
        tab(
            "mcp",
            "MCP clients",
            &[
                ("For Claude Code, save this as .mcp.json:", file!("claude-code.json")),
                (
                    "For VS Code, which asks for the key, save this as .vscode/mcp.json:",
                    file!("vs-code.json"),
                ),
            ],
            "Replace the address with that of your MCP server. Other clients may use another syntax for the variable, \
             for example ${env:KEYWARD_KEY} in Cursor.",
        ),
    ]
}
