//! The calls that the documented requests are reproduced with.

use ims::{
    Change, Client, DataVolume, ExportFormat, FileImport, ImageId, ImageKind, ImageMetadata,
    ImageQuery, ImageUrl, JobId, Match, OsFamily, OsType, PatchForm, QuickForm, QuickImport,
    Reply as Answer, SchemaOf, ServerImage, SystemKind, Tag, TagQuery, TagValues, Tags,
    VolumeImage, WholeImage, WholeSource,
};

use crate::common;

pub(crate) const IMAGE: &str = "33ad552d-1149-471c-8190-ff6776174a00";
const SHARED: [&str; 2] = [
    "d164b5df-1bc3-4c3f-893e-3e471fd16e64",
    "0b680482-aaaa-4045-b14c-9a8c7dfe9c70",
];
const SERVER_ID: &str = "877a2cda-ba63-4e1e-b95f-e67e48b6129a";
const VOLUME_ID: &str = "c5dfbd0c-bf0a-4798-a453-61dc6b54aa30";
/// What is uploaded.
pub(crate) const FILE: &[u8] = &[0, 159, 146, 150];

const EN_FILE: &str = "Create an image from a file in the OBS bucket";
const ISO_FILE: &str = "Image creation using an image file uploaded to the OBS bucket";
const ZH_SERVER: &str = "云服务器制作镜像";
const ZH_DATA: &str = "云服务器数据卷制作数据盘镜像";
const ZH_FILE: &str = "OBS文件制作镜像";

pub(crate) fn image(id: &str) -> ImageId {
    id.parse().unwrap()
}

fn texts() -> Option<Tags> {
    Some(Tags::Texts(
        ["aaa.111", "bbb.333", "ccc.444"].map(String::from).to_vec(),
    ))
}

pub(crate) fn pairs() -> Option<Tags> {
    Some(Tags::Pairs(vec![
        Tag::new("key2", "value2"),
        Tag::new("key1", "value1"),
    ]))
}

pub(crate) fn url(text: &str) -> ImageUrl {
    let (bucket, key) = text.split_once(':').unwrap();
    ImageUrl {
        bucket: bucket.into(),
        key: key.into(),
    }
}

fn server(tags: Option<Tags>) -> ServerImage {
    ServerImage {
        name: "ims_test".into(),
        description: Some("Create a system disk image from an ECS".into()),
        instance_id: SERVER_ID.into(),
        data_images: vec![],
        min_ram: None,
        max_ram: None,
        enterprise_project_id: None,
        tags,
    }
}

pub(crate) fn file(tags: Option<Tags>) -> FileImport {
    FileImport {
        description: Some("Create an image from a file in an OBS bucket".into()),
        os_version: Some("CentOS 7.0 64bit".into()),
        tags,
        ..FileImport::new("ims_test_file", url("ims-image:centos70.qcow2"), 40)
    }
}

fn volume(tags: Option<Tags>) -> VolumeImage {
    VolumeImage {
        name: "ims_test".into(),
        description: Some("Create a system disk image from a data disk".into()),
        volume_id: SERVER_ID.into(),
        kind: Some(SystemKind::Ecs),
        os_version: "CentOS 7.0 64bit".into(),
        min_ram: None,
        max_ram: None,
        enterprise_project_id: None,
        tags,
    }
}

fn data_volume(tags: Option<Tags>) -> DataVolume {
    DataVolume {
        name: "ims_data_image_test".into(),
        volume_id: VOLUME_ID.into(),
        description: Some("Create a data disk image from the data disk of an ECS".into()),
        tags,
    }
}

fn whole(source: WholeSource, name: &str, description: &str, tags: Option<Tags>) -> WholeImage {
    WholeImage {
        name: name.into(),
        description: Some(description.into()),
        source,
        min_ram: None,
        max_ram: None,
        enterprise_project_id: None,
        tags,
    }
}

fn values(key: &str, value: &str) -> Vec<TagValues> {
    vec![TagValues {
        key: key.into(),
        values: vec![value.into()],
    }]
}

fn tag_query() -> TagQuery {
    TagQuery {
        matches: vec![Match {
            key: "resource_name".into(),
            value: "test100".into(),
        }],
        tags: values("key3", "valueXX"),
        tags_any: values("key0", "valueXX"),
        not_tags: values("key9", "value9"),
        not_tags_any: values("key7", "value7"),
        without_any_tag: false,
    }
}

fn described(description: &str, tags: Option<Tags>) -> ServerImage {
    ServerImage {
        description: Some(description.into()),
        ..server(tags)
    }
}

fn zh_data(tags: Option<Tags>) -> DataVolume {
    DataVolume {
        description: Some(ZH_DATA.into()),
        ..data_volume(tags)
    }
}

fn prepared(description: &str, config: bool, tags: Option<Tags>) -> FileImport {
    FileImport {
        description: Some(description.into()),
        is_config_init: Some(true),
        is_config: config.then_some(true),
        ..file(tags)
    }
}

fn zh_file(config: bool, tags: Option<Tags>) -> FileImport {
    FileImport {
        os_version: Some(" CentOS 7.0 64bit".into()),
        ..prepared(ZH_FILE, config, tags)
    }
}

fn iso() -> FileImport {
    FileImport {
        description: Some(ISO_FILE.into()),
        image_url: url("ims-image:centos70.iso"),
        os_type: Some(OsFamily::Linux),
        kind: Some(SystemKind::IsoImage),
        ..file(pairs())
    }
}

fn quick(tags_as_text: bool) -> QuickImport {
    let tags: &[(&str, &str)] = match tags_as_text {
        true => &[("aaa", "111"), ("bbb", "333"), ("ccc", "444")],
        false => &[("key2", "value2"), ("key1", "value1")],
    };
    QuickImport {
        description: Some("Create an image using a file in the OBS bucket.".into()),
        tags: other(tags),
        form: QuickForm {
            tags_as_text,
            default_type: true,
        },
        ..common::import()
    }
}

fn quick_data(tags_as_text: bool) -> QuickImport {
    QuickImport {
        kind: ImageKind::DataImage,
        os_version: None,
        os_type: Some(OsType::Linux),
        ..quick(tags_as_text)
    }
}

fn other(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

fn image_type(kind: &str) -> ImageQuery {
    ImageQuery {
        image_type: Some(kind.into()),
        ..ImageQuery::default()
    }
}

/// The common queries, of either list.
fn list(name: &str) -> Option<(bool, ImageQuery)> {
    let (list, what) = name.split_once(", ").unwrap_or((name, ""));
    let native = match list {
        "list" => false,
        "native list" => true,
        _ => return None,
    };
    let with_status = |status: &str| ImageQuery {
        member_status: Some(status.into()),
        visibility: Some("shared".into()),
        ..image_type("shared")
    };
    let query = match what {
        "" => ImageQuery::default(),
        "public" => ImageQuery {
            visibility: Some("public".into()),
            other: other(&[("protected", "true")]),
            ..image_type("gold")
        },
        "private" => ImageQuery {
            other: other(&[("owner", common::PROJECT)]),
            ..ImageQuery::default()
        },
        "shared" => with_status("accepted"),
        "rejected" => with_status("rejected"),
        "pending" => with_status("pending"),
        _ => return None,
    };
    Some((native, query))
}

/// Makes the call `name` as its example does.
pub(crate) async fn call(client: &Client, name: &str) -> ims::Result<()> {
    if let Some(made) = making(client, name).await {
        return made;
    }
    if let Some(made) = making_whole(client, name).await {
        return made;
    }
    if let Some(tagged) = tagging(client, name).await {
        return tagged;
    }
    if let Some(shared) = sharing(client, name).await {
        return shared;
    }
    let managed = managing(client, name).await;
    managed.unwrap_or_else(|| panic!("no call for the example {name:?}"))
}

/// The calls that make images of one disk.
async fn making(client: &Client, name: &str) -> Option<ims::Result<()>> {
    Some(match name {
        "server, tags" => client.image_server(&server(texts())).await.map(drop),
        "server, image_tags" => client.image_server(&server(pairs())).await.map(drop),
        "file, tags" => client.import_file(&file(texts())).await.map(drop),
        "file, image_tags" => client.import_file(&file(pairs())).await.map(drop),
        "volume, tags" => client.image_volume(&volume(texts())).await.map(drop),
        "volume, image_tags" => client.image_volume(&volume(pairs())).await.map(drop),
        "data volume, tags" => client
            .image_data_volumes(&[data_volume(texts())])
            .await
            .map(drop),
        "data volume, image_tags" => client
            .image_data_volumes(&[data_volume(pairs())])
            .await
            .map(drop),
        "server, first steps" => {
            let description = "Image creation from an ECS";
            client
                .image_server(&described(description, texts()))
                .await
                .map(drop)
        }
        "zh server, tags" => client
            .image_server(&described(ZH_SERVER, texts()))
            .await
            .map(drop),
        "zh server, image_tags" => client
            .image_server(&described(ZH_SERVER, pairs()))
            .await
            .map(drop),
        "zh data volume, tags" => client
            .image_data_volumes(&[zh_data(texts())])
            .await
            .map(drop),
        "zh data volume, image_tags" => client
            .image_data_volumes(&[zh_data(pairs())])
            .await
            .map(drop),
        "quick, tags" => client.quick_import(&quick(true)).await.map(drop),
        "quick, image_tags" => client.quick_import(&quick(false)).await.map(drop),
        "quick data, tags" => client.quick_import(&quick_data(true)).await.map(drop),
        "quick data, image_tags" => client.quick_import(&quick_data(false)).await.map(drop),
        "iso" => client.import_file(&iso()).await.map(drop),
        "volume of an iso" => {
            let volume = VolumeImage {
                description: Some("Creating a system disk image from a data disk".into()),
                ..volume(pairs())
            };
            client.image_volume(&volume).await.map(drop)
        }
        "prepared file, tags" => client
            .import_file(&prepared(EN_FILE, true, texts()))
            .await
            .map(drop),
        "prepared file, image_tags" => client
            .import_file(&prepared(EN_FILE, false, pairs()))
            .await
            .map(drop),
        "zh file, tags" => client.import_file(&zh_file(true, texts())).await.map(drop),
        "zh file, image_tags" => client.import_file(&zh_file(false, pairs())).await.map(drop),
        "file, first steps" => {
            let none = Some(Tags::Texts(vec![]));
            client
                .import_file(&prepared(ISO_FILE, true, none))
                .await
                .map(drop)
        }
        _ => return None,
    })
}

/// The calls that make images of whole servers.
async fn making_whole(client: &Client, name: &str) -> Option<ims::Result<()>> {
    let whole_server = || WholeSource::Server(SERVER_ID.into());
    let backup = || WholeSource::Backup("9b27efab-4a17-4c06-bfa2-3e0cf021d3c3".into());
    let of_server = "creating an image from an ECS";
    let of_backup = "Creating a full-ECS image from a CSBS backup";
    Some(match name {
        "whole server, tags" => {
            let whole = whole(whole_server(), "instance_whole_image", of_server, texts());
            client.image_whole_server(&whole).await.map(drop)
        }
        "whole server, image_tags" => {
            let whole = whole(whole_server(), "instance_whole_image", of_server, pairs());
            client.image_whole_server(&whole).await.map(drop)
        }
        "backup, tags" => {
            let whole = whole(backup(), "backup_whole_image", of_backup, texts());
            client.image_whole_server(&whole).await.map(drop)
        }
        "backup, image_tags" => {
            let whole = whole(backup(), "backup_whole_image", of_backup, pairs());
            client.image_whole_server(&whole).await.map(drop)
        }
        _ => return None,
    })
}

/// The calls about tags.
async fn tagging(client: &Client, name: &str) -> Option<ims::Result<()>> {
    let tagged = image("67e17426-359e-49fb-aa12-0bd1756ec240");
    let three = [
        Tag::new("key1", "value1"),
        Tag::new("key2", "value2"),
        Tag::new("key3", ""),
    ];
    Some(match name {
        "tag, old call" => {
            let id = image("67437ebd-2563-46e0-887e-ad1923977fa1");
            client.put_tag(&id, &Tag::new("key1", "value1")).await
        }
        "tag" => {
            let tag = Tag::new("key1", "value1");
            client.set_image_tag(&tagged, &tag).await
        }
        "tags, create" => client.set_image_tags(&tagged, &three).await,
        "tags, delete" => client.remove_image_tags(&tagged, &three).await,
        "untag" => client.remove_image_tag(&tagged, "key1").await,
        "tags of an image" => client.image_tags(&tagged).await.map(drop),
        "all tags" => client.all_tags().await.map(drop),
        "by tags, count" => client.count_images_by_tags(&tag_query()).await.map(drop),
        "by tags, filter" => client.images_by_tags(&tag_query(), 0, 1).await.map(drop),
        "tag text, old call" => {
            let id = image("62a15f6c-9197-44d2-89c7-708981c1bec1");
            client.put_tag_text(&id, "aaaa.1111").await
        }
        "tag texts" => client
            .tag_texts(&ImageQuery::default(), 5, 1)
            .await
            .map(drop),
        "tag word" => {
            client
                .add_tag_word(&image("4ca46bf1-5c61-48ff-b4f3-0ad4e5e3ba90"), "aaaa")
                .await
        }
        "untag word" => {
            client
                .remove_tag_word(&image("4ca46bf1-5c61-48ff-b4f3-0ad4e5e3ba90"), "aaaa")
                .await
        }
        _ => return None,
    })
}

/// The calls about members, schemas and versions.
async fn sharing(client: &Client, name: &str) -> Option<ims::Result<()>> {
    let shared = SHARED.map(image);
    let projects = [
        "9c61004714024f9586705d090530f9fa".to_owned(),
        "edc89b490d7d4392898e19b2deb34797".to_owned(),
    ];
    Some(match name {
        "share" => client.share_images(&shared, &projects).await.map(drop),
        "unshare" => client.unshare_images(&shared, &projects).await.map(drop),
        "accept" => client
            .reply_to_shared(&shared, Answer::Accepted)
            .await
            .map(drop),
        "members" => client.image_members(&shared[0]).await.map(drop),
        "schema, image" => client.schema(SchemaOf::Image).await.map(drop),
        "schema, images" => client.schema(SchemaOf::Images).await.map(drop),
        "schema, member" => client.schema(SchemaOf::Member).await.map(drop),
        "schema, members" => client.schema(SchemaOf::Members).await.map(drop),
        "member, add" => client.add_member(&shared[0], &projects[1]).await.map(drop),
        "member, status" => client
            .set_member_status(&shared[0], &projects[1], Answer::Accepted)
            .await
            .map(drop),
        "member" => client
            .image_member(&shared[0], &projects[1])
            .await
            .map(drop),
        "member, remove" => client.remove_member(&shared[0], &projects[1]).await,
        "versions" => client.versions().await.map(drop),
        "version" => client.version("v2.0").await.map(drop),
        _ => return None,
    })
}

/// All others.
async fn managing(client: &Client, name: &str) -> Option<ims::Result<()>> {
    Some(match name {
        "register" => {
            let id = image("4ca46bf1-5c61-48ff-b4f3-0ad4e5e3ba86");
            let file = url("bucketname:Centos6.5-disk1.vmdk");
            client.register_file(&id, &file).await.map(drop)
        }
        "metadata" => {
            let metadata = ImageMetadata {
                name: "test".into(),
                os_version: Some("Ubuntu 14.04 server 64bit".into()),
                container_format: Some("bare".into()),
                disk_format: Some("vhd".into()),
                min_disk: Some(100),
                min_ram: Some(1024),
                tags: vec!["test=testvalue".into(), "image=imagevalue".into()],
                visibility: Some("private".into()),
                protected: Some(false),
            };
            client.create_metadata(&metadata).await.map(drop)
        }
        "change" => {
            let change = [Change::replace("name", "ims_test")];
            client.update_image(&image(IMAGE), &change).await.map(drop)
        }
        "change, native" => {
            let change = [Change::replace("name", "test01")];
            client
                .update_image_native(&image(IMAGE), &change, PatchForm::V2_1)
                .await
                .map(drop)
        }
        "delete" => {
            let id = image("4ca46bf1-5c61-48ff-b4f3-0ad4e5e3ba90");
            client.delete_image(&id, true).await
        }
        "export" => {
            let to = url("ims-image:centos7_5.qcow2");
            client
                .export_image(&image(SHARED[0]), &to, ExportFormat::Qcow2)
                .await
                .map(drop)
        }
        "copy" => {
            let id = image("465076de-dc36-4aec-80f5-ef9d8009428f");
            let key = Some("bd66288c-9081-460a-8227-4cbd0c814cb4");
            client
                .copy_image(&id, "ims_encrypted_copy3", Some("test copy"), key)
                .await
                .map(drop)
        }
        "quota" => client.quotas().await.map(drop),
        "detail, native" => client.image_native(&image(IMAGE)).await.map(drop),
        "sign in" | "projects" => client.quotas().await.map(drop),
        "list, public one" => {
            let query = ImageQuery {
                other: other(&[("sort_key", "name")]),
                ..image_type("gold")
            };
            client.list_images(&query, 1).await.map(drop)
        }
        name if list(name).is_some() => {
            let (native, query) = list(name).unwrap_or_default();
            match native {
                true => client.list_images_native(&query, 1000).await.map(drop),
                false => client.list_images(&query, 1000).await.map(drop),
            }
        }
        "export, not quick" => {
            let to = url("ims-image:centos7_5.qcow2");
            let (id, format) = (image(SHARED[0]), ExportFormat::Qcow2);
            client
                .export_image_as(&id, &to, format, Some(false))
                .await
                .map(drop)
        }
        "job" => {
            let id: JobId = "ff8080814dbd65d7014dbe0d84db0013".parse().unwrap();
            client.job(&id).await.map(drop)
        }
        "change, native, old form" => {
            let change = [Change::replace("name", "test01")];
            client
                .update_image_native(&image(IMAGE), &change, PatchForm::V2_0)
                .await
                .map(drop)
        }
        "upload" => {
            let id = image("84ac7f2b-bf19-4efb-86a0-b5be8771b476");
            client.upload_file(&id, FILE.into()).await
        }
        _ => return None,
    })
}
