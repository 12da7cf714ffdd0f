//! `dayfly user`, `dayfly key` and `dayfly policy`: who may do what, by IAM's operations.

use super::{Error, env::export, service_code};
use crate::{
    cli::{self, Allowed, Attach, KeyWhat, PolicyWhat, UserWhat},
    client::{self, Client, value},
    output,
};
use serde_json::{Value, json};

/// Name of the inline policy that `--allow` makes.
const INLINE: &str = "dayfly";
/// Where the ARNs of AWS's policies begin.
const OF_AWS: &str = "arn:aws:iam::aws:policy/";

/// `dayfly user`.
pub async fn user(options: &cli::User) -> Result<(), Error> {
    let client = Client::new(&options.target)?;
    match &options.what {
        UserWhat::Ls => list_users(&client).await,
        UserWhat::Add { name, allowed, policy } => {
            let mut arns = Vec::new();
            for policy in policy {
                arns.push(arn(&client, policy).await?);
            }
            let user = ("UserName", name.as_str());
            client.iam("CreateUser", &[user]).await?;
            if let Some(document) = document(allowed) {
                let named = [user, ("PolicyName", INLINE), ("PolicyDocument", &document)];
                client.iam("PutUserPolicy", &named).await?;
            }
            for arn in arns {
                client.iam("AttachUserPolicy", &[user, ("PolicyArn", &arn)]).await?;
            }
            if allowed.allow.is_empty() && policy.is_empty() {
                output::note(&format!("{name} may do nothing yet: dayfly policy attach POLICY --user {name}"));
            }
            Ok(output::line(name)?)
        }
        UserWhat::Rm { names } => {
            for name in names {
                remove_user(&client, name).await?;
                output::line(name)?;
            }
            Ok(())
        }
    }
}

/// `dayfly key`.
pub async fn key(options: &cli::Key) -> Result<(), Error> {
    let client = Client::new(&options.target)?;
    match &options.what {
        KeyWhat::Ls => {
            let rows = keys(&client).await?;
            if rows.is_empty() {
                output::note("no keys yet: make one with `dayfly key add USER`");
                return Ok(());
            }
            Ok(output::line(&output::table(&["key", "user", "status", "made (UTC)"], &rows, &[]))?)
        }
        KeyWhat::Add { user, shell } => {
            let made = client.iam("CreateAccessKey", &[("UserName", user)]).await?;
            let text = |name| value(&made, name).ok_or_else(|| client::Error::Answer(format!("no {name}")));
            for (name, value) in [
                ("AWS_ENDPOINT_URL", client.endpoint()),
                ("AWS_ACCESS_KEY_ID", text("AccessKeyId")?),
                ("AWS_SECRET_ACCESS_KEY", text("SecretAccessKey")?),
                ("AWS_DEFAULT_REGION", client.region().to_owned()),
            ] {
                output::line(&export(*shell, name, &value))?;
            }
            Ok(())
        }
        KeyWhat::Rm { keys: unwanted } => {
            let all = keys(&client).await?;
            for key in unwanted {
                let row = all.iter().find(|row| row[0] == *key);
                let row =
                    row.ok_or_else(|| Error::Failed(format!("no user has the key {key}: see `dayfly key ls`")))?;
                client.iam("DeleteAccessKey", &[("UserName", &row[1]), ("AccessKeyId", key)]).await?;
                output::line(key)?;
            }
            Ok(())
        }
    }
}

/// `dayfly policy`.
pub async fn policy(options: &cli::Policy) -> Result<(), Error> {
    let client = Client::new(&options.target)?;
    match &options.what {
        PolicyWhat::Ls => {
            let all = client.iam_list("ListPolicies", "Policies", &[]).await?;
            let row = |policy: &String| {
                let text = |name| value(policy, name).unwrap_or_default();
                let whose = if text("Arn").starts_with(OF_AWS) { "AWS" } else { "own" };
                vec![text("PolicyName"), whose.to_owned(), text("DefaultVersionId"), text("AttachmentCount")]
            };
            let mut rows: Vec<_> = all.iter().map(row).collect();
            rows.sort_by(|one, other| (&other[1], &one[0]).cmp(&(&one[1], &other[0])));
            Ok(output::line(&output::table(&["name", "whose", "version", "attached"], &rows, &[3]))?)
        }
        PolicyWhat::Show { policy } => {
            let arn = arn(&client, policy).await?;
            let found = client.iam("GetPolicy", &[("PolicyArn", &arn)]).await?;
            let version = value(&found, "DefaultVersionId").unwrap_or_default();
            let found = client.iam("GetPolicyVersion", &[("PolicyArn", &arn), ("VersionId", &version)]).await?;
            let text = value(&found, "Document").unwrap_or_default();
            let text = decoded(&text);
            match serde_json::from_str::<Value>(&text) {
                Ok(document) => Ok(output::json(&document)?),
                Err(_) => Ok(output::line(&text)?),
            }
        }
        PolicyWhat::Add { name, allowed, file } => {
            let document = match (file, document(allowed)) {
                (Some(file), _) => std::fs::read_to_string(file)?,
                (None, Some(document)) => document,
                (None, None) => {
                    return Err(Error::Usage("what does it allow? Give --allow ACTION or --file FILE".to_owned()));
                }
            };
            Ok(output::line(&put_policy(&client, name, &document).await?)?)
        }
        PolicyWhat::Attach(to) => attach(&client, "Attach", to).await,
        PolicyWhat::Detach(from) => attach(&client, "Detach", from).await,
        PolicyWhat::Rm { policy } => {
            let arn = arn(&client, policy).await?;
            let policy = ("PolicyArn", arn.as_str());
            for version in client.iam_list("ListPolicyVersions", "Versions", &[policy]).await? {
                if value(&version, "IsDefaultVersion").as_deref() == Some("false") {
                    let id = value(&version, "VersionId").unwrap_or_default();
                    client.iam("DeletePolicyVersion", &[policy, ("VersionId", &id)]).await?;
                }
            }
            client.iam("DeletePolicy", &[policy]).await?;
            Ok(output::line(&arn)?)
        }
    }
}

async fn list_users(client: &Client) -> Result<(), Error> {
    let mut rows = Vec::new();
    for user in client.iam_list("ListUsers", "Users", &[]).await? {
        let name = value(&user, "UserName").unwrap_or_default();
        let named = [("UserName", name.as_str())];
        let keys = client.iam_list("ListAccessKeys", "AccessKeyMetadata", &named).await?.len();
        let mut policies = Vec::new();
        for policy in client.iam_list("ListAttachedUserPolicies", "AttachedPolicies", &named).await? {
            policies.extend(value(&policy, "PolicyName"));
        }
        let inline = client.iam_list("ListUserPolicies", "PolicyNames", &named).await?;
        policies.extend(inline.iter().filter_map(|name| name.split('<').next()).map(str::to_owned));
        for group in client.iam_list("ListGroupsForUser", "Groups", &named).await? {
            policies.extend(value(&group, "GroupName").map(|name| format!("group {name}")));
        }
        let made = value(&user, "CreateDate").unwrap_or_default().chars().take(19).collect();
        rows.push(vec![name, keys.to_string(), policies.join(", "), made]);
    }
    if rows.is_empty() {
        output::note("no users yet: make one with `dayfly user add NAME`");
        return Ok(());
    }
    Ok(output::line(&output::table(&["name", "keys", "policies", "made (UTC)"], &rows, &[1]))?)
}

/// Everything that a user has goes first, as IAM wants it.
async fn remove_user(client: &Client, name: &str) -> Result<(), Error> {
    let user = ("UserName", name);
    for key in client.iam_list("ListAccessKeys", "AccessKeyMetadata", &[user]).await? {
        let id = value(&key, "AccessKeyId").unwrap_or_default();
        client.iam("DeleteAccessKey", &[user, ("AccessKeyId", &id)]).await?;
    }
    for policy in client.iam_list("ListAttachedUserPolicies", "AttachedPolicies", &[user]).await? {
        let arn = value(&policy, "PolicyArn").unwrap_or_default();
        client.iam("DetachUserPolicy", &[user, ("PolicyArn", &arn)]).await?;
    }
    for policy in client.iam_list("ListUserPolicies", "PolicyNames", &[user]).await? {
        let policy = policy.split('<').next().unwrap_or_default();
        client.iam("DeleteUserPolicy", &[user, ("PolicyName", policy)]).await?;
    }
    for group in client.iam_list("ListGroupsForUser", "Groups", &[user]).await? {
        let group = value(&group, "GroupName").unwrap_or_default();
        client.iam("RemoveUserFromGroup", &[user, ("GroupName", &group)]).await?;
    }
    client.iam("DeleteUser", &[user]).await?;
    Ok(())
}

/// Key, user, status and date of every key.
async fn keys(client: &Client) -> Result<Vec<Vec<String>>, Error> {
    let mut rows = Vec::new();
    for user in client.iam_list("ListUsers", "Users", &[]).await? {
        let name = value(&user, "UserName").unwrap_or_default();
        for key in client.iam_list("ListAccessKeys", "AccessKeyMetadata", &[("UserName", &name)]).await? {
            let text = |name| value(&key, name).unwrap_or_default();
            let made = text("CreateDate").chars().take(19).collect();
            rows.push(vec![text("AccessKeyId"), name.clone(), text("Status"), made]);
        }
    }
    Ok(rows)
}

/// Makes a policy, or a version of the one that there is, and makes room for it.
async fn put_policy(client: &Client, name: &str, document: &str) -> Result<String, Error> {
    let made = client.iam("CreatePolicy", &[("PolicyName", name), ("PolicyDocument", document)]).await;
    match made {
        Ok(made) => return Ok(value(&made, "Arn").unwrap_or_default()),
        Err(error) if service_code(&error) == Some("EntityAlreadyExists") => {}
        Err(error) => return Err(error.into()),
    }
    let arn = arn(client, name).await?;
    let policy = ("PolicyArn", arn.as_str());
    let versions = client.iam_list("ListPolicyVersions", "Versions", &[policy]).await?;
    let spare = |version: &&String| value(version, "IsDefaultVersion").as_deref() == Some("false");
    if versions.len() >= 5
        && let Some(id) = versions.iter().rfind(spare).and_then(|version| value(version, "VersionId"))
    {
        client.iam("DeletePolicyVersion", &[policy, ("VersionId", &id)]).await?;
    }
    client.iam("CreatePolicyVersion", &[policy, ("PolicyDocument", document), ("SetAsDefault", "true")]).await?;
    Ok(arn)
}

async fn attach(client: &Client, verb: &str, options: &Attach) -> Result<(), Error> {
    let arn = arn(client, &options.policy).await?;
    let whose = &options.whose;
    for (kind, name) in [("User", &whose.user), ("Role", &whose.role), ("Group", &whose.group)] {
        if let Some(name) = name {
            let named = format!("{kind}Name");
            client.iam(&format!("{verb}{kind}Policy"), &[(&named, name), ("PolicyArn", &arn)]).await?;
        }
    }
    Ok(output::line(&arn)?)
}

/// The ARN of a policy that is named by it, or by its name: the account's own first, then AWS's.
async fn arn(client: &Client, policy: &str) -> Result<String, Error> {
    if policy.starts_with("arn:") {
        return Ok(policy.to_owned());
    }
    let all = client.iam_list("ListPolicies", "Policies", &[]).await?;
    let named = all.iter().filter(|one| value(one, "PolicyName").as_deref() == Some(policy));
    let mut arns: Vec<String> = named.filter_map(|one| value(one, "Arn")).collect();
    arns.sort_by_key(|arn| arn.starts_with(OF_AWS));
    let first = arns.into_iter().next();
    first.ok_or_else(|| Error::Failed(format!("there is no policy {policy}: see `dayfly policy ls`")))
}

/// The document that `--allow` and `--on` stand for.
fn document(allowed: &Allowed) -> Option<String> {
    if allowed.allow.is_empty() {
        return None;
    }
    let on = if allowed.on.is_empty() { vec!["*".to_owned()] } else { allowed.on.clone() };
    let statement = json!({"Effect": "Allow", "Action": allowed.allow, "Resource": on});
    Some(json!({"Version": "2012-10-17", "Statement": [statement]}).to_string())
}

/// IAM writes documents with every character encoded.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        match tail.get(..2).filter(|_| *first == b'%').and_then(|digits| hex::decode(digits).ok()) {
            Some(byte) => {
                bytes.extend(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_becomes_a_document() {
        let allowed = Allowed { allow: vec!["s3:*".to_owned()], on: Vec::new() };
        let found: Value = serde_json::from_str(&document(&allowed).unwrap()).unwrap();
        assert_eq!(found["Statement"][0], json!({"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}));
        assert_eq!(document(&Allowed { allow: Vec::new(), on: Vec::new() }), None);
        assert_eq!(decoded("%7B%22a%22%3A1%7D%"), "{\"a\":1}%");
    }
}
