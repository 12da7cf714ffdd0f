//! Finds the web application (WSGI or ASGI) in a folder, and what goes into its package beside it. Used by `deploy`.
//! It reads sources and runs nothing.

use crate::entry::{self, defines};
use std::path::{Path, PathBuf};

/// The handler of every web application.
pub const HANDLER: &str = "dayfly_app.handler";

/// A web application.
#[derive(Debug, PartialEq, Eq)]
pub struct WebApp {
    /// `module:object`.
    pub object: String,
    /// Its static files, if it has some.
    pub statics: Option<Statics>,
}

/// A folder whose files are served without a call.
#[derive(Debug, PartialEq, Eq)]
pub struct Statics {
    /// Where they are on the web: begins and ends with a slash.
    pub path: String,
    /// Where they are here.
    pub folder: PathBuf,
}

/// Where an application is looked for, in this order. A folder of Django's is known by its `manage.py`.
const FILES: [&str; 7] =
    ["app.py", "main.py", "wsgi.py", "asgi.py", "application.py", "app/main.py", "app/__init__.py"];
const OBJECTS: [&str; 2] = ["app", "application"];
const FACTORIES: [&str; 2] = ["create_app", "make_app"];
const FRAMEWORKS: [&str; 9] =
    ["flask", "django", "fastapi", "starlette", "quart", "litestar", "falcon", "bottle", "pyramid"];
const STATICS: [&str; 2] = ["static", "staticfiles"];
const ADAPTER: &str = include_str!("../../../runtimes/python/web.py");

impl WebApp {
    /// The application in `root`, unless that is a plain function; `named` is the user's word for it.
    pub fn find(root: &Path, named: Option<&str>) -> Option<Self> {
        let object = match named {
            Some(object) => object.to_owned(),
            None if entry::find(root).is_some() => return None,
            None => find_object(root)?,
        };
        let module = object.split([':', '.']).next().unwrap_or_default();
        let folder = ["", module]
            .iter()
            .flat_map(|parent| STATICS.iter().map(move |name| root.join(parent).join(name)))
            .find(|folder| root.is_dir() && folder.is_dir());
        Some(Self { statics: folder.map(|folder| Statics { path: "/static/".to_owned(), folder }), object })
    }

    /// What goes into the package: the adapter, and a module that names the application.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        let start = format!(
            "\"\"\"What is called: {}, behind an adapter.\"\"\"\n\nimport dayfly_web\n\nhandler = dayfly_web.handler({:?})\n",
            self.object, self.object
        );
        vec![("dayfly_web.py", ADAPTER.to_owned()), ("dayfly_app.py", start)]
    }
}

/// `module:object`, when it has the form that Python takes; `()` at the end calls it.
pub fn parse_object(text: &str) -> Result<String, String> {
    let dotted = |text: &str| {
        text.split('.').all(|name| {
            let mut characters = name.chars();
            characters.next().is_some_and(|first| first.is_alphabetic() || first == '_')
                && characters.all(|other| other.is_alphanumeric() || other == '_')
        })
    };
    match text.split_once(':') {
        Some((module, object)) if dotted(module) && dotted(object.strip_suffix("()").unwrap_or(object)) => {
            Ok(text.to_owned())
        }
        _ => Err("write MODULE:OBJECT, for example app:app or mysite.wsgi:application".to_owned()),
    }
}

/// `/PATH=FOLDER`, or a folder that is at `/static/`.
pub fn parse_statics(text: &str) -> Result<(String, PathBuf), String> {
    let (path, folder) = match text.split_once('=') {
        Some((path, folder)) => (path, folder),
        None => ("/static/", text),
    };
    let name = path.trim_matches('/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    if !path.starts_with('/') || name.is_empty() || !name.bytes().all(plain) || folder.is_empty() {
        return Err("write FOLDER, or /PATH=FOLDER, for example /assets=dist/assets".to_owned());
    }
    Ok((format!("/{name}/"), folder.into()))
}

fn find_object(root: &Path) -> Option<String> {
    if root.is_file() {
        let source = std::fs::read_to_string(root).ok()?;
        return object_in(root.file_stem()?.to_str()?, &source, false);
    }
    let found = FILES.iter().find_map(|file| {
        let source = std::fs::read_to_string(root.join(file)).ok()?;
        let module = file.trim_end_matches(".py").trim_end_matches("/__init__").replace('/', ".");
        object_in(&module, &source, ["wsgi.py", "asgi.py"].contains(file))
    });
    found.or_else(|| find_django(root))
}

/// The application that a source defines. Where the name of the file does not say that there is one, the source has to.
fn object_in(module: &str, source: &str, named_so: bool) -> Option<String> {
    let imports = source.lines().any(|line| {
        let module = line.strip_prefix("from ").or_else(|| line.strip_prefix("import "));
        let first = module.and_then(|module| module.trim_start().split(['.', ' ', ',']).next());
        first.is_some_and(|first| FRAMEWORKS.contains(&first))
    });
    let plain = ["start_response", "scope, receive, send"].iter().any(|sign| source.contains(sign));
    let object = OBJECTS.iter().find(|name| defines(source, name)).map(|name| (*name).to_owned());
    let object = object.or_else(|| FACTORIES.iter().find(|name| defines(source, name)).map(|name| format!("{name}()")));
    object.filter(|_| named_so || imports || plain).map(|object| format!("{module}:{object}"))
}

/// A Django project: `manage.py` names the settings, beside which the application is.
fn find_django(root: &Path) -> Option<String> {
    let source = std::fs::read_to_string(root.join("manage.py")).ok()?;
    let (_, rest) = source.split_once("DJANGO_SETTINGS_MODULE")?;
    let settings =
        rest.split(['"', '\'']).find(|text| text.contains('.') && parse_object(&format!("{text}:x")).is_ok())?;
    let (project, _) = settings.rsplit_once('.')?;
    // `mysite.settings.production` is in a folder of settings.
    let project = project.strip_suffix(".settings").unwrap_or(project);
    ["wsgi", "asgi"].iter().find_map(|name| {
        let file = root.join(project.replace('.', "/")).join(format!("{name}.py"));
        file.is_file().then(|| format!("{project}.{name}:application"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(files: &[(&str, &str)]) -> Option<WebApp> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        WebApp::find(folder.path(), None)
    }

    #[test]
    fn applications_are_found_by_convention() {
        let flask = "from flask import Flask\napp = Flask(__name__)\n";
        for (files, object) in [
            (vec![("app.py", flask)], Some("app:app")),
            (vec![("app/__init__.py", flask)], Some("app:app")),
            (vec![("app/main.py", "import fastapi\napp: fastapi.FastAPI = fastapi.FastAPI()\n")], Some("app.main:app")),
            (vec![("main.py", "async def app(scope, receive, send):\n")], Some("main:app")),
            (vec![("wsgi.py", "from shop import make\napplication = make()\n")], Some("wsgi:application")),
            (vec![("app.py", "from flask import Flask\ndef create_app():\n")], Some("app:create_app()")),
            (
                vec![
                    ("manage.py", "    os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site_x.settings')\n"),
                    ("site_x/wsgi.py", ""),
                ],
                Some("site_x.wsgi:application"),
            ),
            (
                vec![
                    ("manage.py", "os.environ[\"DJANGO_SETTINGS_MODULE\"] = \"a.settings.live\"\n"),
                    ("a/asgi.py", ""),
                ],
                Some("a.asgi:application"),
            ),
            (vec![("app.py", "from chalice import Chalice\napp = Chalice('x')\n")], None),
            (vec![("app.py", "import dayfly\napp = dayfly.App()\n")], None),
            (vec![("app.py", "from flask import Flask\napp = Flask('x')\ndef handler(event, context):\n")], None),
            (vec![("manage.py", "DJANGO_SETTINGS_MODULE")], None),
        ] {
            assert_eq!(find(&files).map(|app| app.object).as_deref(), object, "{files:?}");
        }
    }

    #[test]
    fn static_files_are_beside_the_application() {
        let flask = "from flask import Flask\napp = Flask(__name__)\n";
        let statics = |files: &[(&str, &str)]| find(files).unwrap().statics.map(|statics| statics.folder);
        assert!(statics(&[("app.py", flask), ("static/a.css", "")]).unwrap().ends_with("static"));
        assert!(statics(&[("app/__init__.py", flask), ("app/static/a.css", "")]).unwrap().ends_with("app/static"));
        assert_eq!(statics(&[("app.py", flask)]), None);
    }

    #[test]
    fn what_the_command_line_says_is_checked() {
        assert!(parse_object("a.b:c.d").is_ok() && parse_object("a:make()").is_ok());
        for bad in ["app", "a:", ":a", "a b:c", "a:b\"", "a:b()()", "1a:b"] {
            assert!(parse_object(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_statics("dist"), Ok(("/static/".to_owned(), "dist".into())));
        assert_eq!(parse_statics("/a/b=dist"), Ok(("/a/b/".to_owned(), "dist".into())));
        assert!(parse_statics("a=dist").is_err() && parse_statics("/=dist").is_err());
    }
}
