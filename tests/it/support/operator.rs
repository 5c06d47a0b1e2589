//! An operator: asks and tells a server what to do, on its other listener.

use serde_json::Value;

use super::{Newsroom, Program};

/// Asks the admin API.
pub(crate) struct Operator {
    pub(crate) client: reqwest::Client,
    pub(crate) url: String,
}

impl Operator {
    pub(crate) fn of(site: &Newsroom) -> Self {
        Self::at(site.admin_url())
    }

    pub(crate) fn of_program(program: &Program) -> Self {
        Self::at(format!("http://{}", program.admin))
    }

    fn at(url: String) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { client, url }
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> (u16, String) {
        let url = format!("{}{path}", self.url);
        let mut request = self
            .client
            .request(method.parse().unwrap(), url)
            .body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "", &[]).await
    }

    /// Sets a switch for an hour, and gives what is answered; `what` is what the body says besides.
    #[track_caller]
    pub(crate) fn switch(&self, subject: &str, what: &str) -> impl Future<Output = Value> {
        let body =
            format!("{{{what}\"owner\": \"desk\", \"reason\": \"a test\", \"for\": \"1h\"}}");
        let path = format!("/switches/{subject}");
        async move {
            let (status, said) = self.ask("PUT", &path, &body, &[]).await;
            assert_eq!(status, 200, "{path} {body}: {said}");
            serde_json::from_str(&said).unwrap()
        }
    }

    /// Takes a switch back.
    pub(crate) async fn clear(&self, subject: &str) {
        let path = format!("/switches/{subject}");
        let (status, said) = self.ask("DELETE", &path, "", &[]).await;
        assert_eq!(status, 200, "{path}: {said}");
    }

    /// All that is set: subjects.
    pub(crate) async fn switches(&self) -> Vec<String> {
        let (_, said) = self.get("/switches").await;
        let said: Value = serde_json::from_str(&said).unwrap();
        let switches = said["switches"].as_array().unwrap().iter();
        let subject = |switch: &Value| switch["subject"].as_str().unwrap().to_owned();
        switches.map(subject).collect()
    }
}
