//! Who may do what over the control socket.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, HashMap},
    fs, io,
    os::unix::fs::MetadataExt,
};

use weft_ctl_api::{Role, audit::Who, name::visible, spec::Config};

use crate::desired::Invalid;

/// Whom a role is given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Principal {
    User(u32),
    Group(u32),
}

/// Whoever is on the other side of the control socket (SO_PEERCRED, unix(7)), as of when they connected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The group, and further ones.
    pub groups: Vec<u32>,
    /// For the logs.
    pub who: Who,
}

impl Identity {
    /// Of a connection's other side.
    pub fn of(socket: &tokio::net::UnixStream) -> io::Result<Self> {
        let peer = socket.peer_cred()?;
        let mut groups = vec![peer.gid()];
        groups.extend(weft_pmd::sys::net::peer_groups(socket).unwrap_or_default());
        let comm = peer.pid().map(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default());
        let who = Who {
            user: name_of("/etc/passwd", peer.uid()),
            uid: Some(peer.uid()),
            gid: Some(peer.gid()),
            pid: peer.pid(),
            // Whoever runs it names it: what can't be seen, or is obeyed, must not get into logs and terminals.
            comm: visible(&comm.unwrap_or_default().trim().replace(char::is_control, "?")).into_owned(),
        };
        Ok(Self { uid: peer.uid(), groups, who })
    }
}

/// weftd itself, for the logs.
pub fn weftd_itself(why: &str) -> Who {
    Who { comm: format!("weftd ({why})"), ..Who::default() }
}

/// Who has which role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles {
    /// weftd's own user.
    own: u32,
    given: BTreeMap<Principal, Role>,
    /// The group that the socket's file belongs to.
    pub socket_group: Option<u32>,
}

impl Roles {
    /// Resolves the names of a configuration.
    pub fn resolve(config: &Config) -> Result<Self, Invalid> {
        let own = fs::metadata("/proc/self").map(|meta| meta.uid()).unwrap_or(0);
        let mut roles = Self { own, ..Self::default() };
        let (users, groups) = (Numbers::of("/etc/passwd"), Numbers::of("/etc/group"));
        if let Some(name) = &config.node.control_group {
            let group = groups
                .number(name)
                .ok_or_else(|| unknown("node.control_group", "group", name, "/etc/group"))?;
            roles.socket_group = Some(group);
            roles.give(Principal::Group(group), Role::View);
        }
        let lists = [
            (Role::View, &config.roles.view),
            (Role::Operate, &config.roles.operate),
            (Role::Admin, &config.roles.admin),
        ];
        for (role, names) in lists {
            for name in names {
                roles.give(principal(&format!("roles.{role}"), name, &users, &groups)?, role);
            }
        }
        Ok(roles)
    }

    fn give(&mut self, to: Principal, role: Role) {
        let given = self.given.entry(to).or_insert(role);
        *given = role.max(*given);
    }

    /// What somebody may do; none: nothing at all.
    pub fn of(&self, peer: &Identity) -> Option<Role> {
        if peer.uid == 0 || peer.uid == self.own {
            return Some(Role::Admin);
        }
        let groups = peer.groups.iter().map(|group| Principal::Group(*group));
        let principals = groups.chain([Principal::User(peer.uid)]);
        principals.filter_map(|principal| self.given.get(&principal)).max().copied()
    }

    /// The socket's mode. Where others than the socket's group have roles, everybody may open it: weftd tells who they are.
    pub fn socket_mode(&self) -> u32 {
        let others = self.given.keys().any(|given| Some(*given) != self.socket_group.map(Principal::Group));
        match self.socket_group {
            _ if others => 0o666,
            Some(_) => 0o660,
            None => 0o600,
        }
    }
}

fn unknown(key: &str, noun: &str, name: &str, file: &str) -> Invalid {
    let remedy = format!("name one of {file}, or give its number");
    Invalid::new(key, format!("there is no {noun} \"{name}\""), remedy)
}

fn principal(key: &str, name: &str, users: &Numbers, groups: &Numbers) -> Result<Principal, Invalid> {
    match name.strip_prefix('@') {
        Some(group) => groups
            .number(group)
            .map(Principal::Group)
            .ok_or_else(|| unknown(key, "group", group, "/etc/group")),
        None => {
            users.number(name).map(Principal::User).ok_or_else(|| unknown(key, "user", name, "/etc/passwd"))
        }
    }
}

/// Lines of passwd(5) and group(5): the name is the first field, the number the third.
fn fields(file: &str) -> Vec<(String, u32)> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let field = |line: &str| {
        let mut fields = line.split(':');
        Some((fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?))
    };
    text.lines().filter_map(field).collect()
}

/// The numbers of names, from a file that is read once, when the first name is looked up: a configuration may be full of them.
struct Numbers {
    file: &'static str,
    known: OnceCell<HashMap<String, u32>>,
}

impl Numbers {
    fn of(file: &'static str) -> Self {
        Self { file, known: OnceCell::new() }
    }

    fn number(&self, name: &str) -> Option<u32> {
        // Of lines with the same name the first counts.
        let known = || self.known.get_or_init(|| fields(self.file).into_iter().rev().collect());
        name.parse().ok().or_else(|| known().get(name).copied())
    }
}

fn name_of(file: &str, number: u32) -> Option<String> {
    fields(file).into_iter().find(|(_, known)| *known == number).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(more: &str) -> Result<Roles, Invalid> {
        Roles::resolve(&crate::config::parse(&format!("[node]\nname = \"n\"\n{more}")).expect("it parses"))
    }

    fn peer(uid: u32, groups: &[u32]) -> Identity {
        Identity { uid, groups: groups.to_vec(), ..Identity::default() }
    }

    #[test]
    fn the_highest_of_ones_roles_counts() {
        let text = "control_group = \"daemon\"\n[roles]\nview = [\"1000\", \"@2000\"]\noperate = [\"@2001\", \"1001\"]\nadmin = [\"1002\"]";
        let roles = roles(text).expect("valid");
        for (who, role) in [
            (peer(0, &[0]), Some(Role::Admin)),
            (peer(1002, &[2000]), Some(Role::Admin)),
            (peer(1000, &[5, 2001]), Some(Role::Operate)),
            (peer(1001, &[2000]), Some(Role::Operate)),
            (peer(1000, &[5]), Some(Role::View)),
            (peer(7, &[7, 1]), Some(Role::View)),
            (peer(2000, &[1000]), None),
        ] {
            assert_eq!(roles.of(&who), role, "{who:?}");
        }
        assert_eq!(roles.socket_mode(), 0o666);
    }

    #[test]
    fn the_socket_is_as_closed_as_it_can_be() {
        assert_eq!(roles("").expect("valid").socket_mode(), 0o600);
        assert_eq!(roles("control_group = \"daemon\"").expect("valid").socket_mode(), 0o660);
        let same = "control_group = \"daemon\"\n[roles]\noperate = [\"@daemon\"]";
        assert_eq!(roles(same).expect("valid").socket_mode(), 0o660);
    }

    #[test]
    fn names_that_nobody_has_are_refused() {
        for (more, says) in [
            ("control_group = \"no-such\"", "node.control_group: there is no group \"no-such\""),
            ("[roles]\nview = [\"no-such\"]", "roles.view: there is no user \"no-such\""),
            ("[roles]\nadmin = [\"@no-such\"]", "roles.admin: there is no group \"no-such\""),
        ] {
            let error = roles(more).expect_err("refused").to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
