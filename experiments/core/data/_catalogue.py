"""The public data sets fedlab knows: where they come from, what they are licensed as, and which block reads them."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.core.data._transfer import File


@dataclass(frozen=True)
class Known:
    """One data set of the catalogue.

    Attributes:
        name: the word for `fedlab data --download`. what: one line about it. licence: its terms.
        files: what to fetch; empty when nothing has to be.
        kind: the block of a spec that reads it (with `path:` where it needs one).
        how: another way to get it, or a remark.
        needs: data sets it is made from by `build`; `built` are the resulting files.
        place: folder of the data folder where the user's own copy lies; `how` says where to get it. Nothing is fetched.
    """

    name: str
    what: str
    licence: str
    kind: str
    files: tuple[File, ...] = ()
    how: str = ""
    needs: tuple[str, ...] = ()
    built: tuple[str, ...] = ()
    place: str = ""


_OSSCI = "https://ossci-datasets.s3.amazonaws.com/mnist"
_ZALANDO = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
_QMNIST = "https://raw.githubusercontent.com/facebookresearch/qmnist/master"
_FEMNIST = "https://huggingface.co/datasets/flwrlabs/femnist/resolve/main/data"
_TORONTO = "https://www.cs.toronto.edu/~kriz"
_TEXTS = "https://s3.amazonaws.com/fast-ai-nlp"
_AG_NEWS = "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv"
_HUB = "https://huggingface.co"
_SVHN = "http://ufldl.stanford.edu/housenumbers"
_ZENODO = "https://zenodo.org/records/10519652/files"


def _idx(folder: str, base: str, *files: tuple[str, int, str]) -> tuple[File, ...]:
    """The files of an IDX data set."""
    return tuple(File(f"{folder}/raw/{name}", f"{base}/{name}", size, f"sha256:{sha}") for name, size, sha in files)


def _checkpoint(folder: str, base: str, *vocabulary: tuple[str, int, str]) -> tuple[File, ...]:
    """A model of the hub: its vocabulary with checksums, its configuration and weights without."""
    words = (File(f"tokenizers/{folder}/{n}", f"{base}/{n}", size, f"sha256:{sha}") for n, size, sha in vocabulary)
    weights = (File(f"models/{folder}/{n}", f"{base}/{n}", 0) for n in ("config.json", "model.safetensors"))
    return (*words, *weights)


CATALOGUE: tuple[Known, ...] = (
    Known("leaf_synthetic", "LEAF's synthetic data: 60 features, 5 classes; needs no file", "none", "leaf_synthetic"),
    Known("sklearn_digits", "scikit-learn's digits, enlarged: a stand-in, no file", "CC BY 4.0", "sklearn_digits"),
    Known("iris", "Fisher's 150 iris flowers, from scikit-learn: 4 features, 3 classes, no file", "CC BY 4.0", "iris"),
    Known(
        "femnist",
        "FEMNIST: 814,277 handwritten characters, 62 classes, by writer",
        "BSD 2-clause",
        "femnist",
        (File("femnist/train-00000-of-00001.parquet", f"{_FEMNIST}/train-00000-of-00001.parquet", 200_734_290),),
        "or run LEAF's data/femnist/preprocess.sh and put its data/train and data/test into femnist/; "
        "no checksum is published, so size and form are checked; reading it needs the extra [parquet]",
    ),
    Known(
        "mnist_by_writer",
        "MNIST's digits by 150 NIST writers (LEAF JSON): the digits-only stand-in for FEMNIST",
        "CC BY-SA 3.0 (images), BSD 3-clause (writer ids)",
        "mnist_by_writer",
        how="made here from mnist and qmnist_labels",
        needs=("mnist", "qmnist_labels"),
        built=(
            "mnist_by_writer/train/all_data_0_niid_0_keep_0_train_9.json.gz",
            "mnist_by_writer/test/all_data_0_niid_0_keep_0_test_9.json.gz",
        ),
    ),
    Known(
        "mnist",
        "MNIST: 70,000 handwritten digits",
        "CC BY-SA 3.0",
        "idx, path: MNIST; or small_mnist",
        _idx(
            "MNIST", _OSSCI,
            ("train-images-idx3-ubyte.gz", 9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            ("train-labels-idx1-ubyte.gz", 28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            ("t10k-images-idx3-ubyte.gz", 1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            ("t10k-labels-idx1-ubyte.gz", 4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        ),
    ),
    Known(
        "fashion_mnist",
        "Fashion-MNIST: 70,000 images of clothes, 10 classes",
        "MIT",
        "idx, path: FashionMNIST",
        _idx(
            "FashionMNIST", _ZALANDO,
            ("train-images-idx3-ubyte.gz", 26421880,
             "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            ("train-labels-idx1-ubyte.gz", 29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            ("t10k-images-idx3-ubyte.gz", 4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            ("t10k-labels-idx1-ubyte.gz", 5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ),
    ),
    Known(
        "qmnist_labels",
        "QMNIST's label file: the NIST writer of every MNIST training digit",
        "BSD 3-clause",
        "not read by itself; part of mnist_by_writer",
        _idx(
            "QMNIST", _QMNIST,
            ("qmnist-train-labels-idx2-int.gz", 463024,
             "2c05dc77f6b916b38e455e97ab129a42a444f3dbef09b278a366f82904e0dd9f"),
        ),
    ),
    Known(
        "cifar10",
        "CIFAR-10, binary version: 60,000 colour images of 32x32, 10 classes",
        "none stated; cite Krizhevsky 2009",
        "cifar",
        (
            File(
                "cifar/cifar-10-binary.tar.gz",
                f"{_TORONTO}/cifar-10-binary.tar.gz",
                170_052_171,
                "md5:c32a1d4ab5d03f1284b67883e8d87530",
            ),
        ),
        "it is read packed as it is",
    ),
    Known(
        "cifar100",
        "CIFAR-100, binary version: 60,000 colour images of 32x32, 100 classes",
        "none stated; cite Krizhevsky 2009",
        "cifar, classes: 100",
        (
            File(
                "cifar/cifar-100-binary.tar.gz",
                f"{_TORONTO}/cifar-100-binary.tar.gz",
                168_513_733,
                "md5:03b5dce01913d631647c71ecec9e9cb8",
            ),
        ),
        "it is read packed as it is",
    ),
    Known(
        "svhn",
        "SVHN: 99,289 colour images of house numbers of 32x32, 10 classes, without the extra ones (Netzer et al. 2011)",
        "non-commercial use only",
        "svhn",
        (
            File("svhn/train_32x32.mat", f"{_SVHN}/train_32x32.mat", 182_040_794,
                 "sha256:435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"),
            File("svhn/test_32x32.mat", f"{_SVHN}/test_32x32.mat", 64_275_384,
                 "sha256:cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"),
        ),
    ),
    Known(
        "cinic10",
        "CINIC-10: 270,000 colour images of 32x32 in three equal parts, 10 classes of CIFAR-10 (Darlow et al. 2018)",
        "CC BY 4.0",
        "image_folder, path: CINIC-10, colour: rgb, height: 32, width: 32",
        how="unpack CINIC-10.tar.gz of https://datashare.ed.ac.uk/handle/10283/3192 into CINIC-10/ of the data folder; "
        "train/ and test/ are read, valid/ is not",
        place="CINIC-10",
    ),
    Known(
        "chest_xray",
        "5,856 chest X-rays of children: normal, bacterial and viral pneumonia (Kermany et al. 2018)",
        "CC BY 4.0",
        "image_folder, path: chest_xray, height: 224, width: 224, label_pattern: NORMAL|bacteria|virus",
        how="unpack ChestXRay2017.zip of https://data.mendeley.com/datasets/rscbjbr9sj into the data folder; "
        "it then holds chest_xray/train and chest_xray/test",
        place="chest_xray",
    ),
    *(
        Known(
            name,
            f"{what} (MedMNIST v2)",
            "CC BY 4.0",
            f"image_npz, path: medmnist/{name}.npz",
            (File(f"medmnist/{name}.npz", f"{_ZENODO}/{name}.npz?download=1", 0, f"md5:{md5}"),),
        )
        for name, what, md5 in (
            ("pneumoniamnist", "PneumoniaMNIST: 5,856 chest X-rays of 28x28, 2 classes",
             "28209eda62fecd6e6a2d98b1501bb15f"),
            ("pathmnist", "PathMNIST: 107,180 colour images of colon tissue of 28x28, 9 classes",
             "a8b06965200029087d5bd730944a56c1"),
            ("organamnist", "OrganAMNIST: 58,830 slices of abdominal CT of 28x28, 11 classes",
             "68e3f8846a6bd62f0c9bf841c0d9eacc"),
        )
    ),
    Known(
        "dbpedia",
        "DBpedia ontology: 630,000 short texts, 14 classes (Zhang et al. 2015)",
        "CC BY-SA 3.0 and GFDL",
        "text_csv, path: dbpedia_csv",
        (
            File(
                "dbpedia_csv.tgz",
                f"{_TEXTS}/dbpedia_csv.tgz",
                0,
                "sha256:42db5221ddedddb673a4cabcc5f3a7d869714c878bcfe4ba94b29d14aa38e417",
            ),
        ),
        "it is read packed as it is; a folder dbpedia_csv beside it is read instead",
    ),
    Known(
        "yahoo_answers",
        "Yahoo! Answers topics: 1,460,000 questions and answers, 10 classes (Zhang et al. 2015)",
        "non-commercial research only",
        "text_csv, path: yahoo_answers_csv",
        (
            File(
                "yahoo_answers_csv.tgz",
                f"{_TEXTS}/yahoo_answers_csv.tgz",
                0,
                "sha256:2d4277855faf8b35259009425fa8f7fe1888b5644b47165508942d000f4c96ae",
            ),
        ),
        "it is read packed as it is; a folder yahoo_answers_csv beside it is read instead",
    ),
    Known(
        "ag_news",
        "AG's News: 127,600 short texts, 4 classes (Zhang et al. 2015)",
        "non-commercial use only",
        "text_csv, path: ag_news_csv",
        (
            File("ag_news_csv/train.csv", f"{_AG_NEWS}/train.csv", 0, "md5:b1a00f826fdfbd249f79597b59e1dc12"),
            File("ag_news_csv/test.csv", f"{_AG_NEWS}/test.csv", 1857427, "md5:d52ea96a97a2d943681189a97654912d"),
        ),
    ),
    Known(
        "bert",
        "BERT, base size, lower case: vocabulary and weights (Devlin et al. 2019)",
        "Apache 2.0",
        "text_csv, tokenizer: tokenizers/bert-base-uncased; model: transformer, checkpoint: models/bert-base-uncased",
        _checkpoint(
            "bert-base-uncased", f"{_HUB}/google-bert/bert-base-uncased/resolve/main",
            ("vocab.txt", 231508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
        ),
        "no checksum of the weights is published with them",
    ),
    Known(
        "gpt",
        "GPT: vocabulary and weights (Radford et al. 2018)",
        "MIT",
        "text_csv, tokenizer: tokenizers/openai-gpt; model: transformer, arch: gpt, checkpoint: models/openai-gpt",
        _checkpoint(
            "openai-gpt", f"{_HUB}/openai-community/openai-gpt/resolve/main",
            ("vocab.json", 815973, "fdf49b19e7de236852091da09b84a7a3cd5e7b0e79916376cf45f6b8127b8078"),
            ("merges.txt", 458495, "0ea9b51ae695073cd871e0358f7016311d671a7ff3963e367d5236522f294725"),
        ),
        "no checksum of the weights is published with them",
    ),
)  # fmt: skip
