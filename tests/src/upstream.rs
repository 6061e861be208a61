//! A real git server behind the gate: `git-http-backend` under nginx, on a Unix socket in a folder that nobody else can enter.

use std::{
    fs,
    io::{Read, Write},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{Act, Failure, Git, Place, Process, Programs, Ready, Service, Who, ensure, place, wait};

/// How many git commands it serves at a time.
const WORKERS: usize = 4;

/// Where the harness leaves its marks in the server's log.
const MARK: &str = "/-mark-of-the-harness-";

/// The git server.
#[derive(Debug)]
pub struct Upstream {
    folder: PathBuf,
    repositories: PathBuf,
    git: Git,
    processes: Vec<Process>,
    marks: AtomicU32,
}

impl Upstream {
    /// Starts one with an empty shelf.
    pub fn start(place: &Place) -> Result<Self, Failure> {
        let folder = place.folder("upstream", Who::Server, 0o700)?;
        let repositories = folder.join("repositories");
        place::folder(&repositories, Who::Server, 0o700)?;
        let git = Programs::git()?;
        let mut upstream = Self { repositories, git, processes: Vec::new(), marks: AtomicU32::new(0), folder };
        upstream.start_workers()?;
        upstream.start_nginx()?;
        Ok(upstream)
    }

    /// The socket on which it serves.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("git.sock")
    }

    /// fcgiwrap takes its listening socket as standard input. One socket, several processes, each a child of ours: fcgiwrap's
    /// own forks would outlive it.
    fn start_workers(&mut self) -> Result<(), Failure> {
        let path = self.folder.join("cgi.sock");
        let binding = || Failure::machine(format!("bind `{}`", path.display()));
        let listener = UnixListener::bind(&path).map_err(binding())?;
        Who::Server.own(&path)?;
        for number in 0..WORKERS {
            let act = Act::new(Programs::system("fcgiwrap")?, Who::Server).within(&self.folder);
            let input: OwnedFd = listener.try_clone().map_err(binding())?.into();
            let service = Service::new(format!("fcgiwrap{number}"), act, Ready::AtOnce, &self.folder);
            self.processes.push(service.start_with_input(Some(input))?);
        }
        Ok(())
    }

    fn start_nginx(&mut self) -> Result<(), Failure> {
        let configuration = self.folder.join("nginx.conf");
        place::write(&configuration, Who::Server, 0o600, self.nginx()?)?;
        let act = Act::new(Programs::system("nginx")?, Who::Server)
            .args(["-e", "stderr", "-p"])
            .arg(&self.folder)
            .arg("-c")
            .arg(&configuration)
            .within(&self.folder);
        self.processes.push(Service::new("nginx", act, Ready::Socket(self.socket()), &self.folder).start()?);
        Ok(())
    }

    fn nginx(&self) -> Result<String, Failure> {
        let at = self.folder.display();
        Ok(format!(
            r#"
daemon off;
# One process: nothing is left when it is killed.
master_process off;
pid {at}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
  # What the stories look at: what reached the server, and as whom.
  log_format story '$request_method $request_uri $status "$http_daypass_collaborator" "$http_daypass_device" "$http_daypass_grant" "$http_daypass_project" "$http_authorization" "$http_content_encoding" "$http_forwarded$http_x_forwarded_for$http_x_forwarded_host$http_x_forwarded_proto$http_x_forwarded_user$http_x_real_ip$http_x_remote_user"';
  access_log {at}/access.log story;
  client_body_temp_path {at}/body;
  fastcgi_temp_path {at}/fastcgi;
  proxy_temp_path {at}/proxy;
  uwsgi_temp_path {at}/uwsgi;
  scgi_temp_path {at}/scgi;
  server {{
    listen unix:{socket};
    # A header with an underscore would count as the one with a hyphen.
    underscores_in_headers on;
    # Packs have no limit here, and are not kept on the way in either direction.
    client_max_body_size 0;
    # A story may hold a download open; the gate is to cut it, not this server.
    send_timeout 300s;
    location {MARK} {{ return 204; }}
    location / {{
      fastcgi_pass unix:{at}/cgi.sock;
      fastcgi_request_buffering off;
      fastcgi_buffering off;
      fastcgi_read_timeout 300s;
      fastcgi_param SCRIPT_FILENAME {backend};
      fastcgi_param GIT_PROJECT_ROOT {repositories};
      fastcgi_param GIT_HTTP_EXPORT_ALL "";
      fastcgi_param HOME {at};
      fastcgi_param PATH /usr/local/bin:/usr/bin:/bin;
      fastcgi_param PATH_INFO $uri;
      fastcgi_param QUERY_STRING $query_string;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param CONTENT_TYPE $content_type;
      fastcgi_param CONTENT_LENGTH $content_length;
      # Who the gate says it is. Without a name git-http-backend takes no push.
      fastcgi_param REMOTE_USER $http_daypass_collaborator;
    }}
  }}
}}
"#,
            socket = self.socket().display(),
            backend = self.git.http_backend()?.display(),
            repositories = self.repositories.display(),
        ))
    }

    /// git in the server's own folder.
    pub fn git(&self, folder: &Path) -> Act {
        let mut act = Act::new(&self.git.path, Who::Server)
            .within(folder)
            .env("HOME", &self.folder)
            .env("GIT_CONFIG_NOSYSTEM", "1");
        for role in ["AUTHOR", "COMMITTER"] {
            act = act.env(format!("GIT_{role}_NAME"), "Olga").env(format!("GIT_{role}_EMAIL"), "olga@example.com");
        }
        act
    }

    /// A new repository with one commit on `main`.
    pub fn add_repository(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.repository(name);
        if let Some(parent) = path.parent()
            && !parent.exists()
        {
            place::folder(parent, Who::Server, 0o700)?;
        }
        let git = |arguments: &[&str]| self.git(&self.repositories).args(arguments).run()?.succeeded();
        git(&["init", "--quiet", "--bare", "--initial-branch=main", &path.display().to_string()])?;
        let at = path.display().to_string();
        // A first commit without a work tree: the tree with one file, then a commit of it.
        let blob =
            self.git(&path).args(["hash-object", "-w", "--stdin"]).input("Welcome to Apollo.\n").run()?.succeeded()?;
        let entry = format!("100644 blob {}\tREADME.md\n", blob.text().trim());
        let tree = self.git(&path).arg("mktree").input(entry).run()?.succeeded()?;
        let commit = self.git(&path).args(["commit-tree", "-m", "first", tree.text().trim()]).run()?.succeeded()?;
        git(&["-C", &at, "update-ref", "refs/heads/main", commit.text().trim()])?;
        // A partial clone asks for it.
        git(&["-C", &at, "config", "uploadpack.allowFilter", "true"])?;
        Ok(path)
    }

    /// One more commit, on a branch of its own, whose file is noise of this size; gives the commit.
    pub fn add_noise(&self, name: &str, mebibytes: usize) -> Result<String, Failure> {
        let path = self.repository(name);
        let file = self.folder.join("noise");
        let (of, count) = (format!("of={}", file.display()), format!("count={mebibytes}"));
        let noise = Act::new("/usr/bin/dd", Who::Server).args(["if=/dev/urandom", &of, "bs=1M", &count]);
        noise.run()?.succeeded()?;
        let git = |arguments: &[&str]| -> Result<String, Failure> {
            Ok(self.git(&path).args(arguments).run()?.succeeded()?.text().trim().to_owned())
        };
        // It cannot be made smaller; so nobody tries for long.
        git(&["config", "core.compression", "0"])?;
        let blob = git(&["hash-object", "-w", &file.display().to_string()])?;
        let entry = format!("100644 blob {blob}\tnoise\n");
        let tree = self.git(&path).arg("mktree").input(entry).run()?.succeeded()?;
        let commit = git(&["commit-tree", "-m", "noise", tree.text().trim()])?;
        git(&["update-ref", "refs/heads/noise", &commit])?;
        Ok(commit)
    }

    /// Where a repository is.
    pub fn repository(&self, name: &str) -> PathBuf {
        self.repositories.join(format!("{name}.git"))
    }

    /// The refs of a repository, as `<ref> <object>` lines.
    pub fn refs(&self, name: &str) -> Result<String, Failure> {
        let format = "--format=%(refname) %(objectname)";
        Ok(self.git(&self.repository(name)).args(["for-each-ref", format]).run()?.succeeded()?.text())
    }

    /// What has reached the server, a line a request.
    ///
    /// nginx writes a request's line after its answer, so the log alone may still lack what a client has already heard. It is
    /// one process and works in order: once a mark made now stands in the log, everything answered before stands there too.
    pub fn requests(&self) -> Result<Vec<String>, Failure> {
        let mark = format!("{MARK}{} ", self.marks.fetch_add(1, Ordering::Relaxed));
        let leaving = || Failure::machine("leave a mark in the git server's log");
        let mut connection = UnixStream::connect(self.socket()).map_err(leaving())?;
        write!(connection, "GET {mark}HTTP/1.0\r\n\r\n").map_err(leaving())?;
        connection.read_to_end(&mut Vec::new()).map_err(leaving())?;
        let log = wait::eventually("the mark in the git server's log", || {
            let log = fs::read_to_string(self.folder.join("access.log")).map_err(leaving())?;
            Ok(log.contains(&mark).then_some(log))
        })?;
        Ok(log.lines().filter(|line| !line.contains(MARK)).map(str::to_owned).collect())
    }

    /// Goes on only if nothing has reached the server.
    pub fn heard_nothing(&self) -> Result<(), Failure> {
        let requests = self.requests()?;
        ensure(requests.is_empty(), "nothing at the server", format!("{requests:?}"))
    }

    /// Goes on only if no push has reached the server.
    pub fn heard_no_push(&self) -> Result<(), Failure> {
        let requests = self.requests()?;
        let pushed = requests.iter().any(|line| line.starts_with("POST") && line.contains("git-receive-pack"));
        ensure(!pushed, "no push at the server", format!("{requests:?}"))
    }
}
