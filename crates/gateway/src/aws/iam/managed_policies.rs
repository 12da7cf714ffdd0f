//! CreatePolicy and its siblings: managed policies and their versions, the account's own and AWS's.

use super::{
    Call, document,
    document::Kind,
    error,
    identity::Identity,
    identity_policies::policy_arn,
    roles::{DOCUMENT_LENGTH_MAX, encoded, end_of_page, path, timestamp},
    tags,
};
use crate::{
    aws::{Error, Response, xml::Xml},
    identities::{Group, ManagedPolicy, POLICIES, PolicyVersion, User, new_id, policy_in_arn},
    managed,
    roles::{Role, key},
};
use dayfly_types::Timestamp;
use std::collections::BTreeMap;

/// Characters of a document, without white space, and versions of a policy; AWS's.
const LENGTH_MAX: usize = 6_144;
const VERSIONS_MAX: usize = 5;

/// How often a policy is used: attached, and as a boundary.
type Uses = BTreeMap<String, (usize, usize)>;

pub async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.name("PolicyName", 128)?.to_owned();
    let path = path(call, "Path")?;
    call.authorise(&format!("arn:aws:iam::{}:policy{path}{name}", call.account))?;
    let now = call.gateway.options.clock.now();
    let version = PolicyVersion { document: checked(call)?, created: now };
    let policy = ManagedPolicy {
        id: new_id("ANPA"),
        path,
        account: call.account.clone(),
        created: now,
        updated: now,
        description: call.optional("Description", 1000)?.map(str::to_owned),
        tags: tags::of(call, &BTreeMap::new())?,
        versions: BTreeMap::from([(1, version)]),
        default: 1,
        latest: 1,
        name,
    };
    if !POLICIES.create(&call.gateway.options.store, &key(&call.account, &policy.name), &policy).await? {
        let message = format!("A policy called {} already exists. Duplicate names are not allowed.", policy.name);
        return Err(Error::new(http::StatusCode::CONFLICT, "EntityAlreadyExists", message));
    }
    Ok(call.answer(|xml| {
        xml.element("Policy", |xml| write(xml, &policy, &Uses::new(), true));
    }))
}

pub async fn get(call: &Call<'_>) -> Result<Response, Error> {
    let (policy, uses) = (policy(call).await?, uses(call).await?);
    Ok(call.answer(|xml| {
        xml.element("Policy", |xml| write(xml, &policy, &uses, true));
    }))
}

pub async fn list(call: &Call<'_>) -> Result<Response, Error> {
    call.authorise("*")?;
    let scope = call.parameters.get("Scope").unwrap_or("All");
    let prefix = call.optional("PathPrefix", 512)?.unwrap_or("/");
    let attached = call.parameters.get("OnlyAttached") == Some("true");
    let uses = uses(call).await?;
    let mut all: Vec<ManagedPolicy> = match scope {
        "AWS" => Vec::new(),
        _ => POLICIES.all(&call.gateway.options.store, &format!("{}/", call.account)).await?,
    };
    if scope != "Local" {
        all.extend(managed::arns().filter_map(|arn| of_aws(call, &arn)));
    }
    all.retain(|policy| policy.path.starts_with(prefix) && (!attached || uses.contains_key(&arn(policy))));
    all.sort_by_key(arn);
    let (page, next) = call.page(all, arn)?;
    Ok(call.answer(|xml| {
        xml.element("Policies", |xml| {
            for policy in &page {
                xml.element("member", |xml| write(xml, policy, &uses, false));
            }
        });
        end_of_page(xml, next);
    }))
}

pub async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    let policy = own(call).await?;
    if uses(call).await?.contains_key(&policy.arn()) {
        return Err(error::in_use("Cannot delete a policy attached to entities."));
    }
    if policy.versions.len() > 1 {
        return Err(error::in_use(
            "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.",
        ));
    }
    match POLICIES
        .delete::<ManagedPolicy>(&call.gateway.options.store, &key(&call.account, &policy.name), |_| Ok(()))
        .await?
    {
        true => Ok(call.done()),
        false => Err(unknown(&policy.arn())),
    }
}

pub async fn create_version(call: &Call<'_>) -> Result<Response, Error> {
    let document = checked(call)?;
    let default = call.parameters.get("SetAsDefault") == Some("true");
    let now = call.gateway.options.clock.now();
    let policy = change(call, |policy| {
        if policy.versions.len() >= VERSIONS_MAX {
            return Err(error::limit(format!("A managed policy can have up to {VERSIONS_MAX} versions. Before you create a new version, you must delete an existing version.")));
        }
        policy.latest += 1;
        policy.updated = now;
        policy.versions.insert(policy.latest, PolicyVersion { document: document.clone(), created: now });
        if default {
            policy.default = policy.latest;
        }
        Ok(())
    })
    .await?;
    Ok(call.answer(|xml| {
        xml.element("PolicyVersion", |xml| write_version(xml, &policy, policy.latest, false));
    }))
}

pub async fn get_version(call: &Call<'_>) -> Result<Response, Error> {
    let policy = policy(call).await?;
    let version = version(call, &policy)?;
    Ok(call.answer(|xml| {
        xml.element("PolicyVersion", |xml| write_version(xml, &policy, version, true));
    }))
}

pub async fn list_versions(call: &Call<'_>) -> Result<Response, Error> {
    let policy = policy(call).await?;
    Ok(call.answer(|xml| {
        xml.element("Versions", |xml| {
            for version in policy.versions.keys().rev() {
                xml.element("member", |xml| write_version(xml, &policy, *version, false));
            }
        });
        end_of_page(xml, None);
    }))
}

pub async fn set_default_version(call: &Call<'_>) -> Result<Response, Error> {
    let now = call.gateway.options.clock.now();
    change(call, |policy| {
        policy.default = version(call, policy)?;
        policy.updated = now;
        Ok(())
    })
    .await?;
    Ok(call.done())
}

pub async fn delete_version(call: &Call<'_>) -> Result<Response, Error> {
    change(call, |policy| {
        let version = version(call, policy)?;
        if version == policy.default {
            return Err(error::in_use("Cannot delete the default version of a policy."));
        }
        policy.versions.remove(&version);
        Ok(())
    })
    .await?;
    Ok(call.done())
}

pub async fn list_entities(call: &Call<'_>) -> Result<Response, Error> {
    let arn = arn(&policy(call).await?);
    let (groups, users, roles) = (call.all::<Group>().await?, call.all::<User>().await?, call.all::<Role>().await?);
    Ok(call.answer(|xml| {
        entities(
            xml,
            "PolicyGroups",
            groups.into_iter().map(|group| (group.attached.contains(&arn), group.name, group.id)),
        );
        entities(xml, "PolicyUsers", users.into_iter().map(|user| (user.attached.contains(&arn), user.name, user.id)));
        entities(xml, "PolicyRoles", roles.into_iter().map(|role| (role.attached.contains(&arn), role.name, role.id)));
        end_of_page(xml, None);
    }))
}

/// Whether the policy can be attached. AWS has more policies than are known here: theirs can be, and allow nothing.
pub async fn check_attachable(call: &Call<'_>, arn: &str) -> Result<(), Error> {
    if arn.starts_with(managed::PREFIX) {
        return Ok(());
    }
    match find(call, arn).await? {
        Some(_) => Ok(()),
        None => Err(error::no_such(format!("Policy {arn} does not exist or is not attachable."))),
    }
}

fn entities(xml: &mut Xml, list: &str, all: impl Iterator<Item = (bool, String, String)>) {
    let kind = list.trim_start_matches("Policy").trim_end_matches('s');
    xml.element(list, |xml| {
        for (_, name, id) in all.filter(|(attached, _, _)| *attached) {
            xml.element("member", |xml| {
                xml.text(&format!("{kind}Name"), name).text(&format!("{kind}Id"), id);
            });
        }
    });
}

/// The policy that the request names: the account's own, or AWS's.
async fn policy(call: &Call<'_>) -> Result<ManagedPolicy, Error> {
    let arn = policy_arn(call)?;
    match of_aws(call, arn) {
        Some(policy) => {
            call.authorise(arn)?;
            Ok(policy)
        }
        None => own(call).await,
    }
}

async fn own(call: &Call<'_>) -> Result<ManagedPolicy, Error> {
    let arn = policy_arn(call)?;
    call.authorise(arn)?;
    find(call, arn).await?.ok_or_else(|| unknown(arn))
}

async fn find(call: &Call<'_>, arn: &str) -> Result<Option<ManagedPolicy>, Error> {
    let Some(name) = policy_in_arn(arn, &call.account) else { return Ok(None) };
    let read = POLICIES.get::<ManagedPolicy>(&call.gateway.options.store, &key(&call.account, name)).await?;
    Ok(read.map(|read| read.value).filter(|policy| policy.arn() == arn))
}

async fn change(
    call: &Call<'_>,
    change: impl FnMut(&mut ManagedPolicy) -> Result<(), Error>,
) -> Result<ManagedPolicy, Error> {
    let policy = own(call).await?;
    let changed = POLICIES.change(&call.gateway.options.store, &key(&call.account, &policy.name), change).await?;
    changed.map(|(policy, ())| policy).ok_or_else(|| unknown(&policy.arn()))
}

/// One of AWS's, as if it were kept. Its account's number is nobody's.
fn of_aws(call: &Call<'_>, arn: &str) -> Option<ManagedPolicy> {
    let document = managed::document(arn)?;
    let below = arn.strip_prefix(managed::PREFIX)?;
    let (path, name) =
        below.rsplit_once('/').map_or(("/".to_owned(), below), |(path, name)| (format!("/{path}/"), name));
    let created = Timestamp::UNIX_EPOCH;
    Some(ManagedPolicy {
        id: String::new(),
        name: name.to_owned(),
        path,
        account: call.account.clone(),
        created,
        updated: created,
        description: None,
        tags: BTreeMap::new(),
        versions: BTreeMap::from([(1, PolicyVersion { document, created })]),
        default: 1,
        latest: 1,
    })
}

/// The ARN, AWS's policies' too.
fn arn(policy: &ManagedPolicy) -> String {
    match policy.id.is_empty() {
        true => format!("{}{}{}", managed::PREFIX, policy.path.trim_start_matches('/'), policy.name),
        false => policy.arn(),
    }
}

async fn uses(call: &Call<'_>) -> Result<Uses, Error> {
    let mut uses = Uses::new();
    add(&mut uses, call.all::<Role>().await?);
    add(&mut uses, call.all::<User>().await?);
    add(&mut uses, call.all::<Group>().await?);
    Ok(uses)
}

fn add<I: Identity>(uses: &mut Uses, all: Vec<I>) {
    for mut identity in all {
        for arn in identity.attached().iter() {
            uses.entry(arn.clone()).or_default().0 += 1;
        }
        if let Some(arn) = identity.boundary() {
            uses.entry(arn.clone()).or_default().1 += 1;
        }
    }
}

fn checked(call: &Call<'_>) -> Result<String, Error> {
    let text = call.required("PolicyDocument", DOCUMENT_LENGTH_MAX)?;
    document::check(text, Kind::Identity)?;
    if text.chars().filter(|character| !character.is_whitespace()).count() > LENGTH_MAX {
        return Err(error::limit(format!("Cannot exceed quota for PolicySize: {LENGTH_MAX}")));
    }
    Ok(text.to_owned())
}

/// The version that the request names: `v` and its number.
fn version(call: &Call<'_>, policy: &ManagedPolicy) -> Result<u32, Error> {
    let name = call.required("VersionId", 128)?;
    let number = name.strip_prefix('v').and_then(|number| number.parse().ok());
    let number = number.filter(|number| policy.versions.contains_key(number));
    number.ok_or_else(|| {
        error::no_such(format!("Policy {} version {name} does not exist or is not attachable.", arn(policy)))
    })
}

fn write(xml: &mut Xml, policy: &ManagedPolicy, uses: &Uses, whole: bool) {
    let arn = arn(policy);
    let (attached, boundary) = uses.get(&arn).copied().unwrap_or_default();
    xml.text("PolicyName", &policy.name)
        .text("PolicyId", if policy.id.is_empty() { "ANPADAYFLYAWSMANAGED0" } else { &policy.id })
        .text("Arn", arn)
        .text("Path", &policy.path)
        .text("DefaultVersionId", format!("v{}", policy.default))
        .text("AttachmentCount", attached)
        .text("PermissionsBoundaryUsageCount", boundary)
        .text("IsAttachable", true)
        .text("CreateDate", timestamp(policy.created))
        .text("UpdateDate", timestamp(policy.updated));
    if whole {
        xml.optional("Description", policy.description.as_ref());
        tags::write(xml, &policy.tags);
    }
}

fn write_version(xml: &mut Xml, policy: &ManagedPolicy, number: u32, whole: bool) {
    let Some(version) = policy.versions.get(&number) else { return };
    if whole {
        xml.text("Document", encoded(&version.document));
    }
    xml.text("VersionId", format!("v{number}"))
        .text("IsDefaultVersion", number == policy.default)
        .text("CreateDate", timestamp(version.created));
}

fn unknown(arn: &str) -> Error {
    error::no_such(format!("Policy {arn} was not found."))
}
