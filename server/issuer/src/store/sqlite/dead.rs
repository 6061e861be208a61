//! What gates must refuse.

use daypass_proto::{enrolment::DeviceLife, resource::Resource, time::Timestamp};
use sqlx::{Row as _, SqlitePool};

use super::{USED_AFTER_END, engine};
use crate::store::{Dead, DeviceEnd, StoreError};

pub(super) const TOKENS: &str = "SELECT t.jti FROM tokens t WHERE t.expires_at > $1 AND t.resource = $2 AND t.revoked <> 0 \
     AND NOT EXISTS (SELECT 1 FROM devices d WHERE d.id = t.device AND (d.state <> 'approved' OR (d.software <> 0 AND $3 = 0))) \
     AND NOT EXISTS (SELECT 1 FROM grants g WHERE g.id = t.grant_id AND g.state <> 'active' AND g.state <> 'grace')";

/// Those of whom somebody had a token when they ended, or were held back, are marked; whether they still are is looked up.
pub(super) const DEVICES: &str = "SELECT DISTINCT d.id, d.state FROM token_holders h CROSS JOIN devices d ON d.id = h.device \
     WHERE h.dead <> 0 AND h.resource = $2 AND h.until > $1 AND d.state <> 'approved'";

/// Where no software keys are allowed.
pub(super) const SOFTWARE: &str = "SELECT d.id, d.state FROM devices d INDEXED BY devices_software WHERE d.software <> 0 AND d.state = 'approved' \
     AND EXISTS (SELECT 1 FROM token_holders h WHERE h.device = d.id AND h.resource = $2 AND h.until > $1)";

/// A grant's device never becomes another.
pub(super) const GRANTS: &str = "SELECT g.id FROM token_holders h CROSS JOIN grants g ON g.id = h.grant_id \
     WHERE h.dead <> 0 AND h.resource = $2 AND h.until > $1 AND g.device = h.device AND g.state <> 'active' AND g.state <> 'grace'";

/// Who has no token that can be in use is left out: a gate learns of nobody whom it never met. So are tokens that cannot be used for their
/// device's or grant's sake. All is read from one moment: of a device that comes back meanwhile, either it or its revoked tokens are named.
pub(super) async fn dead(
    pool: &SqlitePool,
    resources: Vec<Resource>,
    now: Timestamp,
    software_allowed: bool,
) -> Result<Dead, StoreError> {
    let failed = engine("list what is dead");
    let since = now.plus(-USED_AFTER_END).seconds();
    let mut dead = Dead::default();
    let mut moment = pool.begin().await.map_err(&failed)?;
    for resource in resources {
        let asked = |sql| sqlx::query(sql).bind(since).bind(resource.as_str().to_owned());
        let tokens = asked(TOKENS);
        for row in tokens.bind(i64::from(software_allowed)).fetch_all(&mut *moment).await.map_err(&failed)? {
            dead.tokens.push(row.try_get("jti").map_err(&failed)?);
        }
        let mut devices = asked(DEVICES).fetch_all(&mut *moment).await.map_err(&failed)?;
        if !software_allowed {
            devices.extend(asked(SOFTWARE).fetch_all(&mut *moment).await.map_err(&failed)?);
        }
        for row in devices {
            let (id, state): (String, String) =
                (row.try_get("id").map_err(&failed)?, row.try_get("state").map_err(&failed)?);
            let lives = [DeviceLife::Approved, DeviceLife::Pending, DeviceLife::Suspended, DeviceLife::Revoked];
            let end = match lives.into_iter().find(|life| life.as_str() == state) {
                Some(DeviceLife::Approved) => DeviceEnd::Software,
                Some(life) => DeviceEnd::Life(life),
                // Nothing that we wrote; whatever it was, it is not approved.
                None => DeviceEnd::Life(DeviceLife::Revoked),
            };
            // What we wrote ourselves parses; no token bears another name.
            dead.devices.extend(id.parse().ok().map(|id| (id, end)));
        }
        for row in asked(GRANTS).fetch_all(&mut *moment).await.map_err(&failed)? {
            let id: String = row.try_get("id").map_err(&failed)?;
            dead.grants.extend(id.parse().ok());
        }
    }
    moment.commit().await.map_err(&failed)?;
    Ok(dead)
}

#[cfg(test)]
mod tests;
