//! `decima debuginfo`, and object files that outlive the process.

use std::path::PathBuf;

use decima_proto::parca::debuginfo::v1alpha1::{
    InitiateUploadRequest, MarkUploadFinishedRequest, ShouldInitiateUploadRequest, UploadInfo, UploadRequest,
    debuginfo_service_client::DebuginfoServiceClient, upload_request::Data,
};
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use crate::process::{Server, decima, run, stderr};

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/elf/program-dwarf5")
}

/// What a command prints; it must succeed.
fn output(server: &Server, arguments: &[&str]) -> String {
    let output =
        decima().arg("debuginfo").args(arguments).args(["--address", server.url()]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn upload_list_and_show() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let file = program();
    let file = file.to_str().unwrap();
    let uploaded = output(&server, &["upload", file]);
    let build_id = uploaded.trim_end().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(uploaded, format!("{file}: uploaded 7.1 KiB as {build_id}\n"));
    assert_eq!(build_id.len(), 40);
    let again = output(&server, &["upload", file]);
    assert!(again.contains("not uploaded") && again.contains("already exists"), "{again}");
    assert!(output(&server, &["upload", file, "--force"]).contains("uploaded 7.1 KiB"));
    let listed = output(&server, &["list"]);
    let line = listed.lines().find(|line| line.starts_with(&build_id)).unwrap();
    assert!(line.contains("uploaded") && line.contains("dwarf"), "{line}");
    assert!(output(&server, &["show", &build_id]).contains("size               7.1 KiB"));
    let unknown = run(&["debuginfo", "show", "abcd", "--address", server.url()]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("no file of abcd"));
    let no_elf = run(&["debuginfo", "upload", "/etc/passwd", "--address", server.url()]);
    assert!(stderr(&no_elf).contains("not an ELF file"), "{}", stderr(&no_elf));
}

/// One file of several that cannot be uploaded keeps none of the others back, and is named.
#[test]
fn what_cannot_be_uploaded_is_named_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let file = program();
    let file = file.to_str().unwrap();
    let files = ["/etc/passwd", file, "/nowhere"];
    let command = [&["debuginfo", "upload", "--address", server.url()][..], &files].concat();
    let uploaded = run(&command);
    assert_eq!(uploaded.status.code(), Some(1));
    let told = String::from_utf8_lossy(&uploaded.stdout).into_owned();
    assert!(
        told.starts_with(&format!("{file}: uploaded 7.1 KiB as ")) && told.lines().count() == 1,
        "{told}"
    );
    let failed = stderr(&uploaded);
    assert!(failed.contains("2 of 3 files were not uploaded: /etc/passwd: not an ELF file"), "{failed}");
    assert!(failed.contains("/nowhere: No such file"), "{failed}");
}

async fn client(server: &Server) -> DebuginfoServiceClient<Channel> {
    let url = server.url().to_owned();
    DebuginfoServiceClient::new(Channel::from_shared(url).unwrap().connect().await.unwrap())
}

async fn reason(server: &Server) -> String {
    let asked =
        ShouldInitiateUploadRequest { build_id: "abcd".to_owned(), ..ShouldInitiateUploadRequest::default() };
    client(server).await.should_initiate_upload(asked).await.unwrap().into_inner().reason
}

/// Killed after each step, the next step goes on.
#[test]
fn uploads_survive_a_crash_after_each_step() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let start = || Server::start(&data, &[]);
    let runtime = Runtime::new().unwrap();
    let bytes = std::fs::read(program()).unwrap();
    let (build_id, hash) = ("abcd".to_owned(), "h".to_owned());

    let server = start();
    let upload_id = runtime.block_on(async {
        let size = bytes.len() as i64;
        let asked = InitiateUploadRequest { build_id: build_id.clone(), size, hash, ..Default::default() };
        let answer = client(&server).await.initiate_upload(asked).await.unwrap().into_inner();
        answer.upload_instructions.unwrap().upload_id
    });
    server.kill();

    let server = start();
    assert!(runtime.block_on(reason(&server)).contains("in-progress"));
    let info = UploadInfo { build_id: build_id.clone(), upload_id: upload_id.clone(), r#type: 0 };
    let info = UploadRequest { data: Some(Data::Info(info)) };
    let chunk = UploadRequest { data: Some(Data::ChunkData(bytes.clone().into())) };
    // Half an upload, whose sender never ends it, leaves nothing behind.
    runtime.block_on(async {
        let mut client = client(&server).await;
        let (sender, receiver) = tokio::sync::mpsc::channel(2);
        sender.send(info.clone()).await.unwrap();
        sender.send(chunk.clone()).await.unwrap();
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let sending = tokio::spawn(async move { client.upload(stream).await });
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert!(!sending.is_finished());
    });
    server.kill();

    let server = start();
    let sent = runtime.block_on(async {
        let requests = tokio_stream::iter([info, chunk]);
        client(&server).await.upload(requests).await.unwrap().into_inner()
    });
    assert_eq!(sent.size, bytes.len() as u64);
    server.kill();

    let server = start();
    runtime.block_on(async {
        let finished = MarkUploadFinishedRequest { build_id, upload_id, r#type: 0 };
        client(&server).await.mark_upload_finished(finished).await.unwrap();
    });
    server.kill();

    let server = start();
    assert!(runtime.block_on(reason(&server)).contains("already exists"));
    let shown = output(&server, &["show", "abcd"]);
    assert!(shown.contains("state              uploaded"), "{shown}");
    server.kill();
    let files = std::fs::read_dir(data.join("default/debuginfo/abcd")).unwrap();
    assert_eq!(files.count(), 2, "the record and the bytes");
}
