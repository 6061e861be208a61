//! A real git server behind the gate: `git-http-backend` under nginx, on a Unix socket in a folder that nobody else can enter.

use std::{
    fs,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
};

use crate::{Act, Failure, Git, Place, Process, Programs, Ready, Service, Who, place};

/// How many git commands it serves at a time.
const WORKERS: usize = 4;

/// The git server.
#[derive(Debug)]
pub struct Upstream {
    folder: PathBuf,
    repositories: PathBuf,
    git: Git,
    processes: Vec<Process>,
}

impl Upstream {
    /// Starts one with an empty shelf.
    pub fn start(place: &Place) -> Result<Self, Failure> {
        let folder = place.folder("upstream", Who::Server, 0o700)?;
        let repositories = folder.join("repositories");
        place::folder(&repositories, Who::Server, 0o700)?;
        let git = Programs::git()?;
        let mut upstream = Self { repositories, git, processes: Vec::new(), folder };
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
  log_format story '$request_method $request_uri $status "$http_daypass_collaborator" "$http_daypass_device" "$http_daypass_grant" "$http_daypass_project" "$http_authorization" "$http_content_encoding"';
  access_log {at}/access.log story;
  client_body_temp_path {at}/body;
  fastcgi_temp_path {at}/fastcgi;
  proxy_temp_path {at}/proxy;
  uwsgi_temp_path {at}/uwsgi;
  scgi_temp_path {at}/scgi;
  server {{
    listen unix:{socket};
    # Packs have no limit here, and are not kept on the way in either direction.
    client_max_body_size 0;
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
    pub fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.join("access.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}
