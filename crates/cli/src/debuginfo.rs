//! `decima debuginfo`: what object files a running store has, and one more for it.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write},
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail};
use bytesize::ByteSize;
use decima_proto::{
    decima::debuginfo::v1alpha1::{
        ListRequest, ObjectFile, Quality, object_file::State,
        object_file_service_client::ObjectFileServiceClient,
    },
    parca::debuginfo::v1alpha1::{
        BuildIdType, DebuginfoType, InitiateUploadRequest, MarkUploadFinishedRequest,
        ShouldInitiateUploadRequest, UploadInfo, UploadRequest,
        debuginfo_service_client::DebuginfoServiceClient, upload_instructions::UploadStrategy,
        upload_request::Data,
    },
};
use decima_symbols::{BuildId, elf::Elf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    args::{Debuginfo, DebuginfoUpload, Remote},
    client::{self, MESSAGE_BYTES_MAX, Store},
    file_hash,
};

/// Bytes of one message of an upload: what Parca's agent sends.
const CHUNK_BYTES: usize = 8 << 20;
/// Messages that are read from the file before they are sent.
const CHUNKS_AHEAD: usize = 2;

/// Runs one of the commands.
pub(crate) async fn run(command: Debuginfo) -> anyhow::Result<()> {
    match command {
        Debuginfo::List { remote } => {
            let files = list(&remote, String::new()).await?;
            write!(io::stdout().lock(), "{}", table(&files))?;
        }
        Debuginfo::Show { build_id, remote } => {
            let files = list(&remote, build_id.clone()).await?;
            if files.is_empty() {
                bail!("the store knows no file of {build_id}");
            }
            write!(io::stdout().lock(), "{}", details(&files))?;
        }
        Debuginfo::Upload(flags) => {
            let mut failed = Vec::new();
            for file in &flags.files {
                match upload(file, &flags).await {
                    Ok(outcome) => writeln!(io::stdout().lock(), "{}: {outcome}", file.display())?,
                    Err(error) => failed.push(format!("{}: {error:#}", file.display())),
                }
            }
            if !failed.is_empty() {
                let all = flags.files.len();
                bail!("{} of {all} files were not uploaded: {}", failed.len(), failed.join("; "));
            }
        }
    }
    Ok(())
}

async fn list(remote: &Remote, build_id: String) -> anyhow::Result<Vec<ObjectFile>> {
    let store = Store::connect(remote).await?;
    let mut client = ObjectFileServiceClient::with_origin(store.channel, store.origin)
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let answer = client.list(ListRequest { build_id }).await.map_err(client::refused)?;
    Ok(answer.into_inner().object_files)
}

/// Sends one file as an agent would; gives what became of it, in words.
async fn upload(path: &Path, flags: &DebuginfoUpload) -> anyhow::Result<String> {
    let mut file = File::open(path)?;
    let size_bytes = file.metadata()?.len();
    let hash = file_hash::of(&mut file, size_bytes)?;
    let name = Name::of(&mut file, flags.build_id.clone(), &hash)?;
    let store = Store::connect(&flags.remote).await?;
    let mut client = DebuginfoServiceClient::with_origin(store.channel, store.origin)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let r#type =
        if flags.executable { DebuginfoType::Executable } else { DebuginfoType::DebuginfoUnspecified };
    let asked = client
        .should_initiate_upload(ShouldInitiateUploadRequest {
            build_id: name.build_id.clone(),
            hash: hash.clone(),
            force: flags.force,
            r#type: r#type as i32,
            build_id_type: name.build_id_type as i32,
        })
        .await
        .map_err(client::refused)?
        .into_inner();
    if !asked.should_initiate_upload {
        return Ok(format!("not uploaded as {}: {}", name.build_id, asked.reason));
    }
    let initiated = client
        .initiate_upload(InitiateUploadRequest {
            build_id: name.build_id.clone(),
            size: i64::try_from(size_bytes)?,
            hash,
            force: flags.force,
            r#type: r#type as i32,
            build_id_type: name.build_id_type as i32,
        })
        .await
        .map_err(client::refused)?
        .into_inner();
    let instructions = initiated.upload_instructions.context("the store does not say where to upload")?;
    if instructions.upload_strategy() == UploadStrategy::SignedUrl {
        bail!("the store wants the file at a URL, which is not supported");
    }
    let upload_id = instructions.upload_id;
    let info =
        UploadInfo { build_id: name.build_id.clone(), upload_id: upload_id.clone(), r#type: r#type as i32 };
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let reading = tokio::task::spawn_blocking(move || send_chunks(file, info, &sender));
    let sent = client.upload(ReceiverStream::new(receiver)).await.map_err(client::refused)?.into_inner();
    reading.await??;
    let finished =
        MarkUploadFinishedRequest { build_id: name.build_id.clone(), upload_id, r#type: r#type as i32 };
    client.mark_upload_finished(finished).await.map_err(client::refused)?;
    Ok(format!("uploaded {} as {}", ByteSize(sent.size), name.build_id))
}

/// Reads the file in chunks. A receiver that is gone has failed and says why itself.
fn send_chunks(mut file: File, info: UploadInfo, sender: &mpsc::Sender<UploadRequest>) -> io::Result<()> {
    file.rewind()?;
    let mut data = Data::Info(info);
    while sender.blocking_send(UploadRequest { data: Some(data) }).is_ok() {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            break;
        }
        data = Data::ChunkData(chunk.into());
    }
    Ok(())
}

/// What a file is uploaded as.
struct Name {
    build_id: String,
    build_id_type: BuildIdType,
}

impl Name {
    /// As agents name files: by their GNU build ID, else by a hash.
    fn of(file: &mut File, given: Option<String>, hash: &str) -> anyhow::Result<Self> {
        if let Some(build_id) = given {
            return Ok(Self { build_id, build_id_type: BuildIdType::UnknownUnspecified });
        }
        file.rewind()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let elf = Elf::parse(&bytes)?;
        Ok(match BuildId::gnu(&elf) {
            Some(build_id) => Self { build_id: build_id.to_string(), build_id_type: BuildIdType::Gnu },
            None => Self { build_id: hash.to_owned(), build_id_type: BuildIdType::Hash },
        })
    }
}

/// One line a file.
fn table(files: &[ObjectFile]) -> String {
    let mut text =
        format!("{:<40} {:<11} {:<11} {:>9}  {:<26} LAST USED\n", "BUILD ID", "TYPE", "STATE", "SIZE", "HAS");
    for file in files {
        text += &format!(
            "{:<40} {:<11} {:<11} {:>9}  {:<26} {}\n",
            file.build_id,
            type_word(file),
            state_word(file),
            size(file),
            has(file.quality.as_ref()),
            time(file.last_used.as_ref()),
        );
    }
    text
}

/// All that is known of each file.
fn details(files: &[ObjectFile]) -> String {
    let mut text = String::new();
    for file in files {
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                text += &format!("{name:<18} {value}\n");
            }
        };
        line("build ID", &file.build_id);
        line("GNU build ID", &file.gnu_build_id);
        line("type", type_word(file));
        line("state", state_word(file));
        line("size", &size(file));
        line("has", &has(file.quality.as_ref()));
        line("hash", &file.hash);
        line("debuginfod server", &file.debuginfod_server);
        line("upload began", &time(file.upload_started.as_ref()));
        line("last used", &time(file.last_used.as_ref()));
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn type_word(file: &ObjectFile) -> &'static str {
    match file.r#type() {
        DebuginfoType::DebuginfoUnspecified => "debuginfo",
        DebuginfoType::Executable => "executable",
        DebuginfoType::Sources => "sources",
        DebuginfoType::SourceMap => "source map",
    }
}

fn state_word(file: &ObjectFile) -> &'static str {
    match file.state() {
        State::Unspecified => "unknown",
        State::Uploading => "uploading",
        State::Uploaded => "uploaded",
        State::Purged => "purged",
        State::Debuginfod => "debuginfod",
    }
}

fn size(file: &ObjectFile) -> String {
    if file.size_bytes == 0 { "-".to_owned() } else { ByteSize(file.size_bytes).to_string() }
}

fn has(quality: Option<&Quality>) -> String {
    let Some(quality) = quality else { return "-".to_owned() };
    if quality.not_valid_elf {
        return "not a valid ELF file".to_owned();
    }
    let parts = [
        (quality.has_dwarf, "dwarf"),
        (quality.has_go_pclntab, "pclntab"),
        (quality.has_symtab, "symtab"),
        (quality.has_dynsym, "dynsym"),
    ];
    let parts: Vec<_> = parts.iter().filter(|(has, _)| *has).map(|&(_, name)| name).collect();
    if parts.is_empty() { "no symbols".to_owned() } else { parts.join(",") }
}

fn time(time: Option<&prost_types::Timestamp>) -> String {
    let since = time.and_then(|time| {
        Some(Duration::new(u64::try_from(time.seconds).ok()?, u32::try_from(time.nanos).ok()?))
    });
    match since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since)) {
        Some(at) => humantime::format_rfc3339_seconds(at).to_string(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables() {
        let file = ObjectFile {
            build_id: "abcd".to_owned(),
            gnu_build_id: "ef01".to_owned(),
            state: State::Uploaded as i32,
            size_bytes: 1_500_000,
            hash: "h".to_owned(),
            quality: Some(Quality { has_dwarf: true, has_dynsym: true, ..Quality::default() }),
            last_used: Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 0 }),
            ..ObjectFile::default()
        };
        assert_eq!(
            table(std::slice::from_ref(&file)).lines().nth(1).unwrap(),
            "abcd                                     debuginfo   uploaded      1.4 MiB  dwarf,dynsym               2027-01-15T08:00:00Z"
        );
        assert_eq!(
            details(&[file]),
            "build ID           abcd\nGNU build ID       ef01\ntype               debuginfo\nstate              uploaded\nsize               1.4 MiB\nhas                dwarf,dynsym\nhash               h\nlast used          2027-01-15T08:00:00Z\n"
        );
        let check = |quality: Option<Quality>, expected: &str| assert_eq!(has(quality.as_ref()), expected);
        check(None, "-");
        check(Some(Quality::default()), "no symbols");
        check(Some(Quality { not_valid_elf: true, ..Quality::default() }), "not a valid ELF file");
    }
}
