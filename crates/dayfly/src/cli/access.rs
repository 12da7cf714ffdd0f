//! Options of the verbs that say who may do what.

use super::{Shell, Target};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Options of `dayfly user`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dayfly user add ann --allow lambda:InvokeFunction          may call every function
  dayfly user add bob --allow 's3:*' --on 'arn:aws:s3:::shared*'
  dayfly user add eve --policy ReadOnlyAccess                one of AWS's policies
  dayfly user ls
  dayfly user rm ann                                         with keys and policies

Then `eval \"$(dayfly key add ann)\"` makes this shell ann's.")]
pub struct User {
    /// What to do
    #[command(subcommand)]
    pub what: UserWhat,
    #[command(flatten)]
    pub target: Target,
}

/// What `dayfly user` does.
#[derive(Debug, Subcommand)]
pub enum UserWhat {
    /// List users, with their keys and policies
    Ls,
    /// Make a user
    Add {
        /// Name of the user
        name: String,
        #[command(flatten)]
        allowed: Allowed,
        /// A managed policy: its name or ARN. Repeat it for more
        #[arg(long, value_name = "POLICY")]
        policy: Vec<String>,
    },
    /// Delete users, with their keys and policies
    Rm {
        /// Names of the users
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// What a policy allows.
#[derive(Debug, Args)]
pub struct Allowed {
    /// An action that is allowed, for example lambda:InvokeFunction or 's3:Get*'. Repeat it for more
    #[arg(long, value_name = "ACTION")]
    pub allow: Vec<String>,
    /// What it is allowed with, an ARN. Default: everything. Repeat it for more
    #[arg(long, value_name = "ARN", requires = "allow")]
    pub on: Vec<String>,
}

/// Options of `dayfly key`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eval \"$(dayfly key add ann)\"     a new key for ann, in this shell
  dayfly key ls
  dayfly key rm AKIA0123456789ABCDEF")]
pub struct Key {
    /// What to do
    #[command(subcommand)]
    pub what: KeyWhat,
    #[command(flatten)]
    pub target: Target,
}

/// What `dayfly key` does.
#[derive(Debug, Subcommand)]
pub enum KeyWhat {
    /// List the keys of all users
    Ls,
    /// Make a key and print export lines; its secret is shown this once
    Add {
        /// Name of the user
        user: String,
        /// Whose syntax the lines have
        #[arg(long, value_enum, default_value_t = Shell::Sh)]
        shell: Shell,
    },
    /// Delete keys
    Rm {
        /// Ids of the keys
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
}

/// Options of `dayfly policy`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dayfly policy ls
  dayfly policy add callers --allow lambda:InvokeFunction --on 'arn:aws:lambda:*:*:function:shop-*'
  dayfly policy add callers --file policy.json               the same name again: a new version counts
  dayfly policy show AmazonS3ReadOnlyAccess
  dayfly policy attach callers --user ann
  dayfly policy detach callers --role worker
  dayfly policy rm callers

A function may do what its role allows, once the role exists in IAM (docs/security.md).")]
pub struct Policy {
    /// What to do
    #[command(subcommand)]
    pub what: PolicyWhat,
    #[command(flatten)]
    pub target: Target,
}

/// What `dayfly policy` does.
#[derive(Debug, Subcommand)]
pub enum PolicyWhat {
    /// List the account's policies and AWS's
    Ls,
    /// Print a policy's document
    Show {
        /// Name or ARN
        policy: String,
    },
    /// Make a policy, or a new version of one
    Add {
        /// Name of the policy
        name: String,
        #[command(flatten)]
        allowed: Allowed,
        /// The document, in a file
        #[arg(long, value_name = "FILE", conflicts_with = "allow")]
        file: Option<PathBuf>,
    },
    /// Give it to a user, a role or a group
    Attach(Attach),
    /// Take it away again
    Detach(Attach),
    /// Delete a policy that nobody has
    Rm {
        /// Name or ARN
        policy: String,
    },
}

/// Which policy, and whose.
#[derive(Debug, Args)]
pub struct Attach {
    /// Name or ARN
    pub policy: String,
    #[command(flatten)]
    pub whose: Whose,
}

/// Who has a policy.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Whose {
    /// Name of a user
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Name of a role
    #[arg(long, value_name = "NAME")]
    pub role: Option<String>,
    /// Name of a group
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
}
